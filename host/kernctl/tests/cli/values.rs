// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How values may stand on the command line.

use serde_json::{Value, json};

use crate::fake::Answer;
use crate::world::World;

fn asked(world: &World, path: &str) -> Value {
    let all = world.fake.take();
    all.into_iter().find(|asked| asked.method == "POST" && asked.target == path).unwrap().json()
}

#[test]
fn values_stand_at_their_short_options() {
    let world = World::new();
    for verb in [&["run", "-d"][..], &["create"], &["container", "create"]] {
        let words = ["-p8080:80", "-eA=1", "-e=B=-2", "-vdata:/data:ro", "-m64", "-lx=y", "web"];
        let mut line = verb.to_vec();
        line.extend(words);
        line.extend(["-p9", "-q"]);
        world.ok(&line);
        let request = asked(&world, "/v1/instances");
        assert_eq!(request["ports"][0]["host"], 8080, "{request}");
        assert_eq!(request["env"], json!({"A": "1", "B": "-2"}), "{request}");
        assert_eq!(request["volumes"][0]["volume"], "data", "{request}");
        assert_eq!(request["memory_mib"], 64, "{request}");
        assert_eq!(request["image"], "web", "{request}");
        // Behind the image everything is for the program.
        assert_eq!(request["args"], json!(["-p9", "-q"]), "{request}");
    }
    world.ok(&["run", "-dp8080:80", "-otable", "web"]);
    assert_eq!(asked(&world, "/v1/instances")["ports"][0]["guest"], 80);
    let error = world.fails(&["run", "-x8080", "web"], 2);
    assert!(error.contains("'-x8080'"), "{error}");
}

#[test]
fn a_place_of_a_volume_may_say_that_it_is_only_read() {
    let world = World::new();
    let attach = |place: &str| {
        world.ok(&["volume", "attach", "data", "web", place]);
        asked(&world, "/v1/volumes/data/attach")
    };
    let wanted = |place: &str, read_only: bool| json!({"instance": "web", "mount_point": place, "read_only": read_only});
    assert_eq!(attach("/d:ro"), wanted("/d", true));
    assert_eq!(attach("/d:rw")["mount_point"], "/d");
    assert_eq!(attach("/d")["mount_point"], "/d");
    for place in ["/d:x", "/d:x:ro", "d:ro"] {
        world.fails(&["volume", "attach", "data", "web", place], 2);
    }
}

#[test]
fn a_daemon_that_was_killed_while_it_was_asked_is_asked_again() {
    let world = World::new();
    world.fake.answer("GET /v1/ping", Answer::none().once());
    world.ok(&["ps"]);
}
