// SPDX-License-Identifier: Apache-2.0 OR MIT
//! /proc, /sys and /dev over an invented kernel, compared with the host's.

use kfs_pseudo::{
    Console, ConsoleHost, ConsoleSettings, Cpu, Descriptor, Devices, Load, Mapping, Memory, ProcFs,
    ProcessStatus, ProcessView, RandomSource, SysFs, SystemView, ThreadStatus, populate_dev,
};
use kfs_tmpfs::{Limits, Tmpfs};
use kio::{
    Clock, Errno, Events, File, FileKind, Instant, Result, SliceSink, SliceSource, UserWords,
};
use kvfs::{
    FileSystem, Follow, Inode, Location, MountFlags, Namespace, OpenFlags, SpecialFiles, Start,
};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

struct Fixed;
impl Clock for Fixed {
    fn monotonic(&self) -> Instant {
        Instant::ZERO
    }
    fn realtime(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
}
impl RandomSource for Fixed {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.iter_mut().enumerate().for_each(|(n, b)| *b = n as u8);
    }
}

#[derive(Default)]
struct Line {
    out: Mutex<Vec<u8>>,
    signals: Mutex<Vec<(u32, u32)>>,
    /// Whether it is held, as it was told.
    held: Mutex<Vec<bool>>,
}
impl ConsoleHost for Line {
    fn hold(&self) {
        self.held.lock().unwrap().push(true);
    }
    fn go_on(&self) {
        self.held.lock().unwrap().push(false);
    }
    fn write(&self, bytes: &[u8]) {
        self.out.lock().unwrap().extend_from_slice(bytes);
    }
    fn signal(&self, group: u32, signal: u32) {
        self.signals.lock().unwrap().push((group, signal));
    }
}

struct Special(Devices);
impl SpecialFiles for Special {
    fn open_device(&self, kind: FileKind, device: u64, flags: OpenFlags) -> Result<Arc<dyn File>> {
        self.0.open(kind, device, flags)
    }
    fn open_fifo(&self, _: &Arc<dyn Inode>, _: OpenFlags) -> Result<Arc<dyn File>> {
        Err(Errno::ENXIO)
    }
}

struct View(Arc<OnceLock<Namespace>>);
struct One(Arc<OnceLock<Namespace>>);

impl SystemView for View {
    fn now(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
    fn current(&self) -> (u32, u32) {
        (7, 8)
    }
    fn processes(&self) -> Vec<u32> {
        vec![7]
    }
    fn process(&self, id: u32) -> Option<Arc<dyn ProcessView>> {
        (id == 7).then(|| Arc::new(One(self.0.clone())) as _)
    }
    fn namespace(&self) -> &Namespace {
        self.0.get().unwrap()
    }
    fn uptime(&self) -> (Duration, Duration) {
        (Duration::from_millis(61_230), Duration::from_millis(5))
    }
    fn memory(&self) -> Memory {
        Memory { total: 1 << 30, free: 1 << 29, available: 1 << 29, ..Memory::default() }
    }
    fn cpus(&self) -> Vec<Cpu> {
        vec![Cpu { khz: 2_596_118, ..Cpu::default() }; 2]
    }
    fn load(&self) -> Load {
        Load { averages: [213, 5, 0], running: 1, threads: 2, last_id: 9, ..Load::default() }
    }
    fn release(&self) -> String {
        "6.1.0".into()
    }
    fn version(&self) -> String {
        "#1 SMP".into()
    }
    fn sysctl(&self, name: &str) -> Option<String> {
        (name == "kernel/hostname").then(|| "unikernel".into())
    }
}

impl One {
    fn root_of(&self) -> Location {
        self.0.get().unwrap().root()
    }
}

impl ProcessView for One {
    fn id(&self) -> u32 {
        7
    }
    fn status(&self) -> ProcessStatus {
        let leader = ThreadStatus {
            name: b"my (prog)".to_vec(),
            state: 'R',
            allowed_cpus: 0b1011,
            ..ThreadStatus::default()
        };
        ProcessStatus { leader, umask: 0o22, size: 3060 << 10, ..ProcessStatus::default() }
    }
    fn threads(&self) -> Vec<u32> {
        vec![7, 8]
    }
    fn thread(&self, id: u32) -> Option<ThreadStatus> {
        (id == 8).then(|| ThreadStatus { name: b"worker".to_vec(), ..ThreadStatus::default() })
    }
    fn executable(&self) -> Option<Location> {
        None
    }
    fn working_directory(&self) -> Option<Location> {
        Some(self.root_of())
    }
    fn root(&self) -> Option<Location> {
        Some(self.root_of())
    }
    fn arguments(&self) -> Vec<u8> {
        b"prog\0-v\0".to_vec()
    }
    fn environment(&self) -> Vec<u8> {
        Vec::new()
    }
    fn auxiliary_vector(&self) -> Vec<u8> {
        Vec::new()
    }
    fn mappings(&self) -> Vec<Mapping> {
        vec![
            Mapping {
                start: 0x5591_ca54_d000,
                end: 0x5591_ca54_f000,
                protection: 1,
                file: (0xfe00, 247_282),
                name: b"/usr/bin/head".to_vec(),
                ..Mapping::default()
            },
            Mapping { start: 0x40_0000, end: 0x40_1000, protection: 7, ..Mapping::default() },
        ]
    }
    fn descriptors(&self) -> Vec<u32> {
        vec![0, 5]
    }
    fn descriptor(&self, number: u32) -> Option<Descriptor> {
        let ns = self.0.get()?;
        let root = ns.root();
        let start = Start { root: &root, base: &root };
        let path: &[u8] = if number == 0 { b"/dev/console" } else { b"/etc-file" };
        let location = ns.resolve(start, path, Follow::Yes).ok()?;
        [0, 5].contains(&number).then_some(Descriptor { location, offset: 3, flags: 0o100_002 })
    }
    fn limits(&self) -> [(u64, u64); 16] {
        let mut limits = [(u64::MAX, u64::MAX); 16];
        limits[3] = (8_388_608, u64::MAX);
        limits
    }
}

struct Machine {
    ns: Arc<OnceLock<Namespace>>,
    console: Arc<Console>,
    line: Arc<Line>,
}

fn machine() -> Machine {
    kmm::hosted::start();
    let line = Arc::new(Line::default());
    let settings =
        ConsoleSettings { echo: true, map_newlines: true, size: (24, 80), stream: false };
    let console = Console::new(line.clone(), settings);
    let limits = Limits { bytes: 1 << 20, inodes: 1000 };
    let root = Tmpfs::new(Arc::new(Fixed), limits, 0o755).unwrap();
    let dev = Tmpfs::with_name(Arc::new(Fixed), limits, 0o755, "devtmpfs").unwrap();
    populate_dev(&dev.root()).unwrap();
    for name in [&b"proc"[..], b"sys", b"dev"] {
        root.root().create(name, FileKind::Directory, 0o755, 0).unwrap();
    }
    root.root().create(b"etc-file", FileKind::Regular, 0o644, 0).unwrap();
    let special = Special(Devices::new(Arc::new(Fixed), console.clone()));
    let ns = Arc::new(OnceLock::new());
    let view = Arc::new(View(ns.clone()));
    let tree = Namespace::new(root, MountFlags::empty(), Arc::new(special));
    assert!(ns.set(tree).is_ok());
    let m = Machine { ns, console, line };
    let mount = |fs: Arc<dyn FileSystem>, at: &str| {
        m.ns().mount(fs, &m.at(at).unwrap(), MountFlags::NOSUID).unwrap();
    };
    mount(ProcFs::new(view.clone(), Arc::new(Fixed)), "/proc");
    mount(SysFs::new(view), "/sys");
    mount(dev, "/dev");
    m
}

impl Machine {
    fn ns(&self) -> &Namespace {
        self.ns.get().unwrap()
    }
    fn at(&self, path: &str) -> Result<Location> {
        let root = self.ns().root();
        self.ns().resolve(Start { root: &root, base: &root }, path.as_bytes(), Follow::Yes)
    }
    fn link(&self, path: &str) -> Result<String> {
        let root = self.ns().root();
        let start = Start { root: &root, base: &root };
        let at = self.ns().resolve(start, path.as_bytes(), Follow::No)?;
        Ok(String::from_utf8(self.ns().read_link(start, &at)?).unwrap())
    }
    fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<dyn File>> {
        Ok(self.ns().open_location(&self.at(path)?, flags)?.file)
    }
    fn read(&self, path: &str) -> Result<String> {
        let file = self.open(path, OpenFlags::RDONLY)?;
        let (mut text, mut buffer) = (Vec::new(), [0; 100]);
        loop {
            let n = file.read_at(text.len() as u64, &mut SliceSink::new(&mut buffer))?;
            text.extend_from_slice(&buffer[..n]);
            if n == 0 {
                return Ok(String::from_utf8(text).unwrap());
            }
        }
    }
}

fn keys(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|l| !l.is_empty());
    lines.map(|l| l.split(':').next().unwrap().trim().to_string()).collect()
}

/// Our keys in order, as far as the host has them; nothing invented.
fn assert_keys_of_host(ours: &str, host: &str, what: &str) {
    let host = keys(host);
    let mut from = 0;
    for key in keys(ours) {
        match host[from..].iter().position(|k| *k == key) {
            Some(at) => from += at + 1,
            // Other kernels leave some of them out; none has another order.
            None => assert!(!host.contains(&key), "{what}: {key} is out of order"),
        }
    }
}

#[test]
fn texts_have_the_form_of_the_host() {
    let m = machine();
    let host = |path: &str| std::fs::read_to_string(path).unwrap();
    let limits = m.read("/proc/self/limits").unwrap();
    let (ours, theirs) = (limits.lines().count(), host("/proc/self/limits"));
    assert_eq!(ours, theirs.lines().count());
    assert_eq!(limits.lines().next(), theirs.lines().next());
    for (a, b) in limits.lines().zip(theirs.lines()) {
        assert_eq!((&a[..26], &a[68..], a.len()), (&b[..26], &b[68..], b.len()));
    }
    for path in ["/proc/self/status", "/proc/meminfo"] {
        assert_keys_of_host(&m.read(path).unwrap(), &host(path), path);
    }
    let stat = m.read("/proc/self/stat").unwrap();
    assert!(stat.starts_with("7 (my (prog)) R 0 "), "{stat}");
    let fields = |s: &str| s.rsplit(')').next().unwrap().split_whitespace().count();
    assert_eq!(fields(&stat), fields(&host("/proc/self/stat")));
    let maps = m.read("/proc/self/maps").unwrap();
    let want = "5591ca54d000-5591ca54f000 r--p 00000000 fe:00 247282                     \
                /usr/bin/head\n00400000-00401000 rwxp 00000000 00:00 0 \n";
    assert_eq!(maps, want);
    assert_eq!(m.read("/proc/uptime").unwrap(), "61.23 0.00\n");
    assert_eq!(m.read("/proc/loadavg").unwrap(), "2.13 0.05 0.00 1/2 9\n");
    assert!(m.read("/proc/self/status").unwrap().contains("Cpus_allowed_list:\t0-1,3\n"));
    let cpuinfo = m.read("/proc/cpuinfo").unwrap();
    assert_eq!(cpuinfo.matches("\n\n").count(), 2);
    assert!(cpuinfo.contains("cpu MHz\t\t: 2596.118\n"));
    let mounts = m.read("/proc/mounts").unwrap();
    assert!(mounts.contains("proc /proc proc rw,nosuid,relatime 0 0\n"), "{mounts}");
    assert_eq!(m.read("/proc/self/mountinfo").unwrap().lines().count(), 4);
    assert_eq!(m.read("/proc/self/statm").unwrap(), "765 0 0 0 0 0 0\n");
    assert_eq!(
        m.read("/proc/net/tcp").unwrap(),
        host("/proc/net/tcp").split_inclusive('\n').next().unwrap()
    );
}

#[test]
fn links_lead_to_the_objects() {
    let m = machine();
    assert_eq!(m.link("/proc/self").unwrap(), "7");
    assert_eq!(m.link("/proc/thread-self").unwrap(), "7/task/8");
    assert_eq!(m.read("/proc/thread-self/comm").unwrap(), "worker\n");
    assert_eq!(m.link("/proc/self/cwd").unwrap(), "/");
    assert_eq!(m.link("/proc/self/fd/5").unwrap(), "/etc-file");
    assert_eq!(m.link("/proc/self/exe"), Err(Errno::ENOENT));
    assert_eq!(m.link("/proc/self/fd/4"), Err(Errno::ENOENT));
    assert_eq!(m.at("/proc/07").unwrap_err(), Errno::ENOENT);
    let reopened = m.open("/dev/fd/5", OpenFlags::WRONLY).unwrap();
    reopened.write_at(0, &mut SliceSource::new(b"text")).unwrap();
    assert_eq!(m.read("/etc-file").unwrap(), "text");
    assert!(m.read("/proc/self/fdinfo/5").unwrap().starts_with("pos:\t3\nflags:\t0100002\n"));
    m.open("/dev/stdin", OpenFlags::WRONLY).unwrap();
    let names = |path: &str| {
        let mut names = Vec::new();
        let directory = m.open(path, OpenFlags::DIRECTORY).unwrap();
        let mut add = |e: kio::DirEntry<'_>| {
            names.push(String::from_utf8(e.name.to_vec()).unwrap());
            true
        };
        directory.read_dir(0, &mut add).unwrap();
        names
    };
    assert_eq!(names("/proc/self/fd"), ["0", "5"]);
    assert_eq!(names("/proc/self/task"), ["7", "8"]);
    assert!(names("/proc").ends_with(&["7".to_string()]));
    for path in names("/proc")
        .iter()
        .filter(|n| !["sys", "net", "self", "thread-self", "7"].contains(&n.as_str()))
    {
        m.read(&format!("/proc/{path}")).unwrap();
    }
}

#[test]
fn settings_read_and_refuse() {
    let m = machine();
    assert_eq!(m.read("/proc/sys/kernel/hostname").unwrap(), "unikernel\n");
    assert_eq!(m.read("/proc/sys/kernel/osrelease").unwrap(), "6.1.0\n");
    assert_eq!(m.read("/proc/sys/net/core/somaxconn").unwrap(), "4096\n");
    let uuid = m.read("/proc/sys/kernel/random/uuid").unwrap();
    assert_eq!(uuid, "00010203-0405-4607-8809-0a0b0c0d0e0f\n");
    let file = m.open("/proc/sys/vm/swappiness", OpenFlags::WRONLY).unwrap();
    assert_eq!(file.write_at(0, &mut SliceSource::new(b"1\n")), Err(Errno::EPERM));
    assert!(matches!(m.open("/proc/version", OpenFlags::WRONLY), Err(Errno::EACCES)));
    assert_eq!(m.read("/sys/devices/system/cpu/online").unwrap(), "0-1\n");
    assert_eq!(m.read("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").unwrap(), "2097152\n");
    assert_eq!(m.at("/sys/fs/cgroup").unwrap_err(), Errno::ENOENT);
}

#[test]
fn devices_do_what_null_4_says() {
    let m = machine();
    let read = |path: &str| {
        let mut buffer = [0xee; 4];
        let file = m.open(path, OpenFlags::RDONLY).unwrap();
        file.read_at(0, &mut SliceSink::new(&mut buffer)).map(|n| (n, buffer))
    };
    assert_eq!(read("/dev/null"), Ok((0, [0xee; 4])));
    assert_eq!(read("/dev/zero"), Ok((4, [0; 4])));
    assert_eq!(read("/dev/urandom"), Ok((4, [0, 1, 2, 3])));
    let write = |path: &str| {
        m.open(path, OpenFlags::WRONLY).unwrap().write_at(0, &mut SliceSource::new(b"abc"))
    };
    assert_eq!((write("/dev/null"), write("/dev/full")), (Ok(3), Err(Errno::ENOSPC)));
    assert_eq!(m.at("/dev/null").unwrap().inode().stat().unwrap().device_node, 0x103);
}

/// Memory of a program, for ioctl(2).
struct Words(Mutex<Vec<u8>>);
impl UserWords for Words {
    fn value(&self) -> u64 {
        0
    }
    fn load(&self, buffer: &mut [u8]) -> Result<()> {
        buffer.copy_from_slice(&self.0.lock().unwrap()[..buffer.len()]);
        Ok(())
    }
    fn store(&self, bytes: &[u8]) -> Result<()> {
        *self.0.lock().unwrap() = bytes.to_vec();
        Ok(())
    }
}

#[test]
fn console_edits_lines_and_sends_signals() {
    let m = machine();
    let read = |most: usize| {
        let mut buffer = vec![0; most];
        let n = m.console.read_at(0, &mut SliceSink::new(&mut buffer))?;
        Ok::<_, Errno>(String::from_utf8(buffer[..n].to_vec()).unwrap())
    };
    assert_eq!(read(9), Err(Errno::EAGAIN));
    m.console.receive(b"abx\x7fc");
    assert_eq!(read(9), Err(Errno::EAGAIN), "no line yet");
    m.console.receive("d\u{e4}\x7f\rsecond\n\x04".as_bytes());
    assert_eq!(read(2).unwrap(), "ab");
    assert_eq!(read(99).unwrap(), "cd\n", "a line at a time");
    assert_eq!(read(99).unwrap(), "second\n");
    assert_eq!(read(99).unwrap(), "", "the end of the file");
    assert_eq!(read(99), Err(Errno::EAGAIN));
    let echo = String::from_utf8(m.line.out.lock().unwrap().clone()).unwrap();
    assert_eq!(echo, "abx\x08 \x08cd\u{e4}\x08 \x08\r\nsecond\r\n");
    m.console.receive(b"gone\x03kept\n");
    assert_eq!(*m.line.signals.lock().unwrap(), [(0, 2)]);
    assert_eq!(read(99).unwrap(), "kept\n");
    let words = Words(Mutex::new(Vec::new()));
    m.console.ioctl(0x5401, &words).unwrap();
    assert_eq!(words.0.lock().unwrap().len(), 36, "isatty(3)");
    // Raw mode: no canonical input, no echo, no signals.
    words.0.lock().unwrap()[12] &= !0b1011;
    m.console.ioctl(0x5402, &words).unwrap();
    m.console.receive(b"\x03x");
    assert_eq!(read(99).unwrap(), "\x03x");
    m.console.ioctl(0x5413, &words).unwrap();
    assert_eq!(*words.0.lock().unwrap(), [24, 0, 80, 0, 0, 0, 0, 0]);
    m.console.resize(50, 100);
    assert_eq!(m.line.signals.lock().unwrap().last(), Some(&(0, 28)));
    m.console.hang_up();
    assert_eq!(read(1).unwrap(), "");
    assert!(matches!(m.console.ioctl(0x1234, &words), Err(Errno::ENOTTY)));
}

/// Takes what has come for the console, as its interrupt handler does, unless the line is held;
/// gives how much that was.
fn offer(console: &Console, line: &Line, come: &[u8]) -> usize {
    let mut taken = 0;
    if line.held.lock().unwrap().last() == Some(&true) {
        return 0;
    }
    loop {
        let mut count = 0;
        while taken + count < come.len() && console.has_room(count) {
            count += 1;
        }
        if count == 0 {
            break;
        }
        console.receive(&come[taken..taken + count]);
        taken += count;
    }
    taken
}

#[test]
fn console_takes_streams_whole_and_holds_the_line_when_it_is_full() {
    kmm::hosted::start();
    let line = Arc::new(Line::default());
    let settings = ConsoleSettings { echo: false, map_newlines: false, size: (0, 0), stream: true };
    let console = Console::new(line.clone(), settings);
    let sent: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    let encoded: Vec<u8> = abi::console::encode(&sent).chain(abi::console::ENDED).collect();
    let (mut offered, mut came) = (0, Vec::new());
    let mut buffer = [0; 700];
    loop {
        offered += offer(&console, &line, &encoded[offered..]);
        match console.read_at(0, &mut SliceSink::new(&mut buffer)).unwrap() {
            0 => break,
            n => came.extend_from_slice(&buffer[..n]),
        }
    }
    assert!(came == sent, "{} of {} bytes", came.len(), sent.len());
    assert!(console.poll().contains(Events::HUP));
    assert!(line.signals.lock().unwrap().is_empty());
    // Each time that it was held it went on.
    let held = line.held.lock().unwrap();
    let going_on = held.iter().filter(|held| !**held).count();
    assert!(going_on > 2 && held.last() == Some(&false), "{held:?}");
}

#[test]
fn console_holds_what_is_typed_ahead_and_cuts_only_a_long_line() {
    let m = machine();
    let lines = b"0123456789\n".repeat(1000);
    let mut taken = offer(&m.console, &m.line, &lines);
    assert!(taken < lines.len());
    let (mut buffer, mut came) = ([0; 100], 0);
    while came < lines.len() {
        let n = m.console.read_at(0, &mut SliceSink::new(&mut buffer)).unwrap();
        assert_eq!(&buffer[..n], b"0123456789\n");
        came += n;
        taken += offer(&m.console, &m.line, &lines[taken..]);
    }
    let long = [b"x".repeat(10_000), b"\n".to_vec()].concat();
    assert_eq!(offer(&m.console, &m.line, &long), long.len(), "nobody can read before its end");
    let mut all = [0; 8192];
    let n = m.console.read_at(0, &mut SliceSink::new(&mut all)).unwrap();
    assert_eq!((n, all[n - 1]), (4096, b'\n'));
}
