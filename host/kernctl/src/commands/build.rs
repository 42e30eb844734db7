// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl build`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use bhojpur_api::{BuildEvent, BuildQuery, Image};
use bhojpur_cli::project::{BuilderFile, FILE_NAME};
use bhojpur_client::{EventStream, Upload};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::note;
use crate::Failure;
use crate::arguments::{Build, words};
use crate::context::{self, Context, Ignored, Keep};
use crate::output::bytes;
use crate::session::Session;

pub(crate) async fn execute(session: &Session, build: &Build) -> Result<u8, Failure> {
    let path = build.context.clone().or_else(|| build.path.clone()).unwrap_or_else(|| ".".into());
    let context = context::find(&path)?;
    let query = query(build, &context)?;
    say_what_is_ignored(build);
    let packed = match &context.file {
        Some(file) => context::pack_file(&context.root.join(file), file, Keep::Little)?,
        None => {
            let ignored = Ignored::of(&context.root)?;
            context::pack(&context.root, Path::new(""), &ignored, Keep::Little)?
        }
    };
    if packed.entries == 0 {
        return Err(Failure::usage(format!("there is nothing in {}", context.root.display()))
            .advise("name the directory of the program; .kernelignore may leave out too much"));
    }
    let client = session.connect().await?;
    let shown = !build.quiet && !session.printer.is_json();
    let bar = Bar::new(shown, "sending", packed.size);
    let upload = bar.follow(packed.upload);
    let mut events = client.build(&query, upload).await?;
    bar.finish();
    if shown && !std::io::stderr().is_terminal() {
        let files = if packed.entries == 1 { "file" } else { "files" };
        note(&format!("sent {} {files}, {}", packed.entries, bytes(packed.size)));
    }
    let image = watch(&mut events, shown).await?;
    session.printer.one(&image, || match build.quiet {
        true => image.id.clone(),
        false => summary(&image, &query.name),
    })?;
    Ok(0)
}

/// What the command line and the project file ask for; the command line wins.
fn query(build: &Build, context: &Context) -> Result<BuildQuery, Failure> {
    let project = context.root.join(&context.project);
    let file = match context.file {
        None if project.join(FILE_NAME).is_file() => {
            BuilderFile::read(&project).map_err(|failure| {
                let advice = failure.advice().unwrap_or("docs/commands.md has all keys");
                Failure::usage(&failure).advise(advice)
            })?
        }
        _ => BuilderFile::default(),
    };
    let program = context.file.clone().or_else(|| context::within(&context.project, &file.path));
    let program = program.ok_or_else(|| {
        Failure::usage(format!(
            "the path {} of {FILE_NAME} is outside of {}",
            file.path.display(),
            context.root.display()
        ))
    })?;
    let mut args: Vec<String> =
        file.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(line) = &build.arguments {
        args = words::split(line).map_err(Failure::usage)?;
    }
    args.extend(build.args.iter().cloned());
    let mut env = file.environment.clone();
    for variable in &build.env {
        if variable.contains('=') {
            env.push(variable.clone());
        } else if let Ok(value) = std::env::var(variable) {
            env.push(format!("{variable}={value}"));
        }
    }
    let mut include = Vec::new();
    for pair in &file.includes {
        let host = context::within(&context.project, Path::new(&pair.host));
        let host = host.ok_or_else(|| outside(&pair.host, context))?;
        include.push(format!("{}:{}", host.display(), pair.guest));
    }
    for pair in &build.include {
        let inside = pair.rsplit_once(':').and_then(|(host, guest)| {
            Some(format!(
                "{}:{guest}",
                context::within(&context.project, Path::new(host))?.display()
            ))
        });
        include.push(inside.ok_or_else(|| {
            Failure::usage(format!("{pair:?} is not CONTEXT:GUEST with a path of the context"))
        })?);
    }
    let mut mounts = Vec::new();
    for pair in &file.mounts {
        let device = pair.host == "tmpfs"
            || ["/dev/", "LABEL=", "UUID="].iter().any(|start| pair.host.starts_with(start));
        if device {
            mounts.push(format!("{}:{}", pair.host, pair.guest));
            continue;
        }
        // A directory becomes part of the image, as with `builder`.
        let host = context::within(&context.project, Path::new(&pair.host));
        let host = host.ok_or_else(|| outside(&pair.host, context))?;
        include.push(format!("{}:{}", host.display(), pair.guest));
    }
    let mut flags: Vec<String> =
        file.flags.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    flags.extend(build.flags.iter().cloned());
    let ports = file.exposed();
    Ok(BuildQuery {
        name: build.tag.clone().unwrap_or_else(|| default_name(context)),
        path: program.display().to_string(),
        language: build.language.clone().or(file.language).unwrap_or_default(),
        provider: build.provider.clone().unwrap_or_default(),
        args: list(&args),
        env: list(&env),
        include: list(&include),
        mounts: list(&mounts),
        ports: list(&ports),
        memory_mib: file.memory.map(|size| size.as_mebibytes()),
        cpus: (file.cpus != 1).then_some(file.cpus),
        flags: list(&flags),
        // As docker does: a name goes over to what was built last.
        force: true,
    })
}

fn outside(path: &str, context: &Context) -> Failure {
    Failure::usage(format!("{path} of {FILE_NAME} is outside of {}", context.root.display()))
}

/// A JSON array; nothing for an empty one.
fn list(words: &[String]) -> String {
    if words.is_empty() { String::new() } else { serde_json::json!(words).to_string() }
}

/// The name of the file or directory, as far as it can be the name of an image.
fn default_name(context: &Context) -> String {
    let path: PathBuf = match &context.file {
        Some(file) => file.with_extension(""),
        None => context.root.join(&context.project),
    };
    let name =
        path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .collect();
    let name = name.trim_matches(['-', '.', '_']);
    if name.is_empty() { "program".to_owned() } else { name.to_owned() }
}

/// What scripts of the ancestor ask for and what is done otherwise here.
fn say_what_is_ignored(build: &Build) {
    if let Some(base) = build.base.as_deref().filter(|base| !base.is_empty() && *base != "bhojpur")
    {
        note(&format!("--base {base} has no meaning: there is one base, Bhojpur Kernel"));
    }
    if !build.mountpoint.is_empty() {
        note(
            "--mountpoint has no meaning: any volume can be mounted anywhere with `run -v VOLUME:/DIRECTORY`",
        );
    }
}

async fn watch(events: &mut EventStream<BuildEvent>, shown: bool) -> Result<Image, Failure> {
    let mut bar: Option<Bar> = None;
    while let Some(event) = events.next().await? {
        match event {
            BuildEvent::Progress { what, done, total } => {
                bar.get_or_insert_with(|| Bar::new(shown, &what, total)).set(done);
                continue;
            }
            BuildEvent::Done { image } => return Ok(*image),
            BuildEvent::Failed { error } => return Err(Failure::of_body(&error)),
            BuildEvent::Step { title } if shown => {
                bar.take().inspect(Bar::finish);
                note(&title);
            }
            BuildEvent::Output { line } if shown => {
                bar.take().inspect(Bar::finish);
                eprint_line(&line);
            }
            BuildEvent::Step { .. } | BuildEvent::Output { .. } => {}
        }
    }
    Err(Failure::unreachable("the daemon ended before the build did")
        .advise("its log tells why; build again"))
}

fn eprint_line(line: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(format!("  {}\n", line.trim_end()).as_bytes());
}

fn summary(image: &Image, name: &str) -> String {
    let name =
        image.names.iter().find(|known| known.starts_with(name)).map_or(name, String::as_str);
    let id: String = image.id.chars().take(12).collect();
    format!(
        "{name}: {id}, {}, wants {} MiB of memory",
        bytes(image.size_bytes),
        image.usual_memory_mib
    )
}

/// A bar on a terminal; nothing elsewhere.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(shown: bool, what: &str, total: u64) -> Self {
        // The library draws only on terminals.
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) =
            ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        Self(bar)
    }

    /// Moves with an upload.
    pub(crate) fn follow(&self, upload: Upload) -> Upload {
        let bar = self.0.clone();
        upload.with_progress(move |sent| bar.set_position(sent))
    }

    fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
