// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loading programs: ELF segments, the interpreter, the first stack (see
//! execve(2), and "Initial Process Stack" in the x86-64 psABI).

use crate::mm::{AddressSpace, Backing, MapRequest, Placement, Protection};
use crate::process::{FsContext, Process};
use crate::services::Services;
use crate::{signal, vdso};
use abi::elf::{self, Header, Plan, Segment};
use alloc::sync::Arc;
use alloc::vec::Vec;
use khal::{TrapFrame, USER_END};
use kio::{Errno, File, Result, SliceSink};
use kvfs::{Location, OpenFlags, Start};

const PAGE: u64 = 4096;
/// Where position-independent programs go, as ELF_ET_DYN_BASE.
const PIE_BASE: u64 = (USER_END / 3 * 2) & !0x1f_ffff;
/// Room that is kept for the stack to grow.
const STACK_GAP: u64 = 16 << 20;
/// What the stack has from the start.
const STACK_INITIAL: u64 = 128 << 10;
const INTERPRETER_DEPTH: usize = 4;
/// Longest `#!` line.
const SCRIPT_LINE: usize = 256;
/// Bytes that arguments and environment may have together.
const ARGUMENTS_MAX: usize = 2 << 20;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Arguments; the first is the name it sees of itself.
    pub arguments: Vec<Vec<u8>>,
    /// Environment, `NAME=value`.
    pub environment: Vec<Vec<u8>>,
}

/// A program that is ready to run.
#[derive(Debug)]
pub struct Loaded {
    /// Its memory.
    pub space: Arc<AddressSpace>,
    /// Its first registers.
    pub frame: TrapFrame,
    /// The executable.
    pub executable: Location,
    /// The auxiliary vector, for /proc.
    pub auxiliary: Vec<u8>,
}

fn read_exact(file: &Arc<dyn File>, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        let count = {
            let mut sink = SliceSink::new(&mut buffer[done..]);
            file.read_at(offset + done as u64, &mut sink)?
        };
        if count == 0 {
            return Err(Errno::ENOEXEC);
        }
        done += count;
    }
    Ok(())
}

struct Object {
    file: Arc<dyn File>,
    location: Location,
    length: u64,
}

/// An ELF file whose tables were read.
struct Elf {
    object: Object,
    header: Header,
    table: Vec<u8>,
}

impl Object {
    fn open(services: &Services, fs: &FsContext, path: &[u8]) -> Result<Self> {
        let start = Start { root: &fs.root, base: &fs.cwd };
        let opened = services.namespace.open(start, path, OpenFlags::RDONLY, 0)?;
        if opened.location.kind() != kio::FileKind::Regular {
            return Err(Errno::EACCES);
        }
        services.namespace.access(&opened.location, 1)?;
        let length = opened.file.stat()?.size;
        Ok(Self { file: opened.file, location: opened.location, length })
    }
}

impl Elf {
    fn parse(object: Object) -> Result<Self> {
        let mut head = [0; elf::HEADER_SIZE];
        read_exact(&object.file, 0, &mut head)?;
        let header = Header::parse(&head).map_err(|_| Errno::ENOEXEC)?;
        let range = header.program_header_range();
        let mut table = alloc::vec![0; (range.end - range.start) as usize];
        read_exact(&object.file, range.start, &mut table)?;
        let parsed = Self { object, header, table };
        parsed.plan()?;
        Ok(parsed)
    }

    fn plan(&self) -> Result<Plan<'_>> {
        Plan::parse(&self.header, &self.table, self.object.length).map_err(|_| Errno::ENOEXEC)
    }

    /// Maps the segments, near `wanted` if they may lie anywhere; returns the
    /// load base.
    fn map(&self, space: &AddressSpace, services: &Services, wanted: Option<u64>) -> Result<u64> {
        let plan = self.plan()?;
        let span = plan.span();
        let base = match (plan.position_independent(), wanted) {
            (false, _) => 0,
            (true, Some(wanted)) => {
                let align = plan.alignment().max(PAGE);
                let slide = services.random.word() % (1 << 24) * PAGE;
                (wanted + slide) / align * align
            }
            // Among the other mappings: reserve a gap, the segments replace it.
            (true, None) => {
                let reserve = MapRequest {
                    placement: Placement::Hint(0),
                    len: span.end - span.start,
                    protection: Protection::empty(),
                    shared: false,
                    may_write: true,
                    grows_down: false,
                    backing: Backing::Anonymous,
                    label: "",
                };
                space.map(reserve)? - span.start
            }
        };
        for segment in plan.loads() {
            self.map_segment(space, &segment, base)?;
        }
        Ok(base)
    }

    fn map_segment(&self, space: &AddressSpace, segment: &Segment, base: u64) -> Result<()> {
        let mut protection = Protection::empty();
        protection.set(Protection::READ, segment.readable());
        protection.set(Protection::WRITE, segment.writable());
        protection.set(Protection::EXECUTE, segment.executable());
        let request = |at: u64, len: u64, backing: Backing| MapRequest {
            placement: Placement::Fixed(at),
            len,
            protection,
            shared: false,
            may_write: true,
            grows_down: false,
            backing,
            label: "",
        };
        let start = base + segment.address;
        let page_start = start & !(PAGE - 1);
        let file_end = start + segment.file_size;
        let file_pages_end = file_end.next_multiple_of(PAGE);
        if segment.file_size > 0 {
            let backing = Backing::File {
                file: self.object.file.clone(),
                location: Some(self.object.location.clone()),
                offset: segment.offset - (start - page_start),
            };
            space.map(request(page_start, file_pages_end - page_start, backing))?;
        }
        let memory_end = (start + segment.memory_size).next_multiple_of(PAGE);
        let zero_start = if segment.file_size > 0 { file_pages_end } else { page_start };
        if memory_end > zero_start {
            space.map(request(zero_start, memory_end - zero_start, Backing::Anonymous))?;
        }
        if segment.file_size > 0 && segment.memory_size > segment.file_size && segment.writable() {
            space.zero_tail(file_end, file_pages_end)?;
        }
        Ok(())
    }

    fn interpreter_path(&self) -> Result<Option<Vec<u8>>> {
        let Some(range) = self.plan()?.interpreter() else { return Ok(None) };
        let len = (range.end - range.start) as usize;
        if len == 0 || len > kvfs::PATH_MAX {
            return Err(Errno::ENOEXEC);
        }
        let mut path = alloc::vec![0; len];
        read_exact(&self.object.file, range.start, &mut path)?;
        path.pop();
        Ok(Some(path))
    }
}

/// A `#!` line: interpreter and its one optional argument.
type ScriptLine = (Vec<u8>, Option<Vec<u8>>);

/// The `#!` line of a script; `None` for what is none.
fn script_line(file: &Arc<dyn File>) -> Result<Option<ScriptLine>> {
    let mut line = [0; SCRIPT_LINE];
    let mut sink = SliceSink::new(&mut line);
    let count = file.read_at(0, &mut sink)?;
    let Some(text) = line[..count].strip_prefix(b"#!") else { return Ok(None) };
    let end = text.iter().position(|b| *b == b'\n').unwrap_or(text.len());
    let text = text[..end].trim_ascii();
    let split = text.iter().position(|b| *b == b' ' || *b == b'\t');
    let (path, argument) = match split {
        Some(at) => (&text[..at], Some(text[at..].trim_ascii().to_vec())),
        None => (text, None),
    };
    if path.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    Ok(Some((path.to_vec(), argument)))
}

/// Finds the ELF file to load, through `#!` lines.
fn find_object(
    services: &Services,
    fs: &FsContext,
    path: &[u8],
    program: &mut Program,
) -> Result<Elf> {
    let mut path = path.to_vec();
    for _ in 0..INTERPRETER_DEPTH {
        let object = Object::open(services, fs, &path)?;
        let Some((interpreter, argument)) = script_line(&object.file)? else {
            return Elf::parse(object);
        };
        let mut arguments = alloc::vec![interpreter.clone()];
        arguments.extend(argument);
        arguments.push(path);
        arguments.extend(program.arguments.drain(..).skip(1));
        program.arguments = arguments;
        path = interpreter;
    }
    Err(Errno::ELOOP)
}

/// Makes the memory of a program and its first stack.
pub fn load(
    services: &Services,
    fs: &FsContext,
    path: &[u8],
    mut program: Program,
    stack_limit: u64,
) -> Result<Loaded> {
    let elf = find_object(services, fs, path, &mut program)?;
    let random = |pages: u64| services.random.word() % pages * PAGE;
    let stack_top = USER_END - random(1 << 22);
    let gap = stack_limit.clamp(STACK_GAP, USER_END / 6);
    let map_top = (stack_top - gap - random(1 << 28)) & !(PAGE - 1);
    let space = Arc::new(AddressSpace::new(map_top)?);
    let base = elf.map(&space, services, Some(PIE_BASE))?;
    let plan = elf.plan()?;
    let end = base + plan.span().end;
    let heap_from = if plan.position_independent() { end } else { end.max(base) };
    space.set_break_start((heap_from + random(1 << 13)).next_multiple_of(PAGE));
    let mut entry = base + plan.header().entry;
    let program_entry = entry;
    let mut interpreter_base = 0;
    if let Some(path) = elf.interpreter_path()? {
        let interpreter = Elf::parse(Object::open(services, fs, &path)?)?;
        interpreter_base = interpreter.map(&space, services, None)?;
        entry = interpreter_base + interpreter.header.entry;
    }
    let vdso_at = vdso::map(&space)?;
    map_stack(&space, stack_top, plan.executable_stack())?;
    let auxiliary = Auxiliary {
        table: plan.table_address().map_or(0, |at| base + at),
        count: u64::from(plan.header().program_header_count),
        base: interpreter_base,
        entry: program_entry,
        vdso: vdso_at,
    };
    let mut random_bytes = [0; 16];
    services.random.fill(&mut random_bytes);
    let shift = services.random.word() % 512 * 16;
    let stack = build_stack(stack_top - shift, &program, path, &auxiliary, &random_bytes)?;
    space.write(stack.start, &stack.bytes)?;
    let frame = TrapFrame::user(entry, stack.start);
    Ok(Loaded { space, frame, executable: elf.object.location.clone(), auxiliary: stack.auxiliary })
}

fn map_stack(space: &AddressSpace, top: u64, executable: bool) -> Result<()> {
    let mut protection = Protection::READ | Protection::WRITE;
    protection.set(Protection::EXECUTE, executable);
    space.map(MapRequest {
        placement: Placement::Fixed(top - STACK_INITIAL),
        len: STACK_INITIAL,
        protection,
        shared: false,
        may_write: true,
        grows_down: true,
        backing: Backing::Anonymous,
        label: "[stack]",
    })?;
    Ok(())
}

/// The contents of the first stack.
struct FirstStack {
    /// The stack pointer.
    start: u64,
    bytes: Vec<u8>,
    /// The auxiliary vector alone.
    auxiliary: Vec<u8>,
}

struct Auxiliary {
    table: u64,
    count: u64,
    base: u64,
    entry: u64,
    vdso: u64,
}

/// Lays out, from the top down: strings, random bytes, the auxiliary vector,
/// pointers to environment and arguments, the count.
fn build_stack(
    top: u64,
    program: &Program,
    path: &[u8],
    aux: &Auxiliary,
    random: &[u8; 16],
) -> Result<FirstStack> {
    let mut blob: Vec<u8> = Vec::new();
    let mut push = |text: &[u8]| {
        let at = blob.len() as u64;
        blob.extend_from_slice(text);
        blob.push(0);
        at
    };
    let arguments: Vec<u64> = program.arguments.iter().map(|a| push(a)).collect();
    let environment: Vec<u64> = program.environment.iter().map(|e| push(e)).collect();
    let (name, platform) = (push(path), push(b"x86_64"));
    if blob.len() > ARGUMENTS_MAX {
        return Err(Errno::E2BIG);
    }
    let random_at = blob.len() as u64;
    blob.extend_from_slice(random);
    let blob_at = (top - 16 - blob.len() as u64) & !15;
    let features = u64::from(khal::hardware_capabilities());
    let vector: [(u64, u64); 20] = [
        (33, aux.vdso),
        (51, signal::minimum_stack()),
        (16, features),
        (6, PAGE),
        (17, 100),
        (3, aux.table),
        (4, elf::PROGRAM_HEADER_SIZE as u64),
        (5, aux.count),
        (7, aux.base),
        (8, 0),
        (9, aux.entry),
        (11, 0),
        (12, 0),
        (13, 0),
        (14, 0),
        (23, 0),
        (25, blob_at + random_at),
        (26, 0),
        (31, blob_at + name),
        (15, blob_at + platform),
    ];
    let mut words: Vec<u64> = Vec::new();
    words.push(program.arguments.len() as u64);
    words.extend(arguments.iter().map(|at| blob_at + at));
    words.push(0);
    words.extend(environment.iter().map(|at| blob_at + at));
    words.push(0);
    let vector_at = words.len();
    words.extend(vector.iter().flat_map(|(kind, value)| [*kind, *value]));
    words.extend([0, 0]);
    let start = (blob_at - 8 * words.len() as u64) & !15;
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let auxiliary = bytes[8 * vector_at..].to_vec();
    bytes.resize((blob_at - start) as usize, 0);
    bytes.extend_from_slice(&blob);
    Ok(FirstStack { start, bytes, auxiliary })
}

/// Records what a process was started with.
pub fn describe(process: &Process, loaded: &Loaded, program: &Program) {
    let join = |parts: &[Vec<u8>]| {
        let mut joined = Vec::new();
        for part in parts {
            joined.extend_from_slice(part);
            joined.push(0);
        }
        joined
    };
    let execution = process.services.namespace.execute(&loaded.executable);
    let mut image = process.image.lock();
    image.executable = Some(loaded.executable.clone());
    let before = image.execution.replace(Arc::new(execution));
    image.arguments = join(&program.arguments);
    image.environment = join(&program.environment);
    image.auxiliary = loaded.auxiliary.clone();
    drop(image);
    drop(before);
}
