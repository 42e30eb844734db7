// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What removing takes along, and what it leaves.

use serde_json::json;

use crate::fake::Answer;
use crate::world::World;

#[test]
fn dockers_flag_for_volumes_leaves_those_that_have_names() {
    let world = World::new();
    for words in [&["rm", "-fv", "web"][..], &["rm", "--force", "--volumes", "web"]] {
        let done = world.run(words);
        assert_eq!((done.status, done.out.as_str()), (0, "web\n"), "{done:?}");
        assert!(done.err.contains("--with-volumes"), "{done:?}");
        assert_eq!(world.fake.lines(), ["DELETE /v1/instances/web?force=true"]);
    }
    let done = world.run(&["rm", "--with-volumes", "web"]);
    assert_eq!((done.status, done.err.as_str()), (0, ""), "{done:?}");
    assert_eq!(world.fake.lines(), ["DELETE /v1/instances/web?volumes=true"]);
    world.ok(&["rm", "-fv", "--with-volumes", "web"]);
    assert_eq!(world.fake.lines(), ["DELETE /v1/instances/web?force=true&volumes=true"]);
}

#[test]
fn instances_that_go_with_their_image_are_told() {
    let world = World::new();
    let removed = json!({"untagged": ["web:1"], "deleted": "feed", "instances": ["one", "two"]});
    world.fake.answer("DELETE /v1/images/web?force=true", Answer::json(200, &removed));
    let done = world.run(&["rmi", "-f", "web"]);
    assert_eq!((done.status, done.out.as_str()), (0, "web\n"), "{done:?}");
    assert_eq!(done.err, "kernctl: removed with web: one, two\n");
    let done = world.run(&["rmi", "other"]);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("other\n", ""));
}
