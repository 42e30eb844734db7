// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel binary: what it owes to the compiler and to the architecture
//! crate. Heap, panic, unwinder stubs, and where its payload lies.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "defines the symbols that the toolchain asks for")]

extern crate alloc;

use abi::control;
use abi::payload::{Descriptor, Payload};
use alloc::boxed::Box;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use kmm::{Frame, KernelHeap, PhysAddr, phys_to_virt};
use kwiring::{Appended, RootImage};

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

/// Filled in the finished file by the host tools.
#[used]
#[unsafe(link_section = ".bhojpur.payload")]
static PAYLOAD: Payload = Payload::empty();

/// Never called: panics abort. The prebuilt standard crates name it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    khal::machine::power_off(kcore::exit::PANIC_STATUS)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    if PANICKED.swap(true, Ordering::SeqCst) {
        khal::machine::power_off(kcore::exit::PANIC_STATUS);
    }
    khal::machine::stop_others();
    if info.location().is_some_and(|at| at.file().ends_with("alloc/src/alloc.rs")) {
        out_of_memory();
    }
    // No locks here: whoever held one does not run any more.
    let out = &mut kcore::log::Channel;
    let cpu = khal::cpus::current() as u32;
    let _ = control::panic(out, cpu, format_args!("{info}"));
    khal::backtrace(|address| {
        let _ = control::frame(out, address);
    });
    let _ = control::panic_end(out);
    if !khal::console::has_control_channel() {
        kcore::log::on_console(format_args!("kernel {info}"));
    }
    khal::machine::power_off(kcore::exit::PANIC_STATUS)
}

/// The kernel itself found no memory, where it cannot do without. Programs have it all, so
/// they are what ends, and the machine with them.
fn out_of_memory() -> ! {
    let out = &mut kcore::log::Channel;
    let message = format_args!("out of memory: the kernel needs some; the program is killed");
    let _ = control::fatal(out, message);
    if !khal::console::has_control_channel() {
        kcore::log::on_console(message);
    }
    let _ = control::exit(out, kcore::exit::KILLED);
    khal::machine::power_off(kcore::exit::KILLED.code())
}

/// RAM that the payload occupies, for the architecture's start-up code.
#[unsafe(no_mangle)]
fn kernel_payload() -> (u64, u64) {
    PAYLOAD.descriptor().map_or((0, 0), |d| (d.config.start, d.config.end.max(d.root.end)))
}

/// Where the architecture's start-up code goes when it is done.
#[unsafe(no_mangle)]
fn kernel_main() -> ! {
    kwiring::start(appended())
}

/// The payload; `None` for a bare kernel.
fn appended() -> Option<Appended> {
    let Descriptor { config, root } = PAYLOAD.descriptor()?;
    // SAFETY: the loader put the payload there, `kernel_payload` keeps the
    // range out of free memory, and nothing writes it.
    let bytes = |range: &core::ops::Range<u64>| unsafe {
        let len = (range.end - range.start) as usize;
        core::slice::from_raw_parts(phys_to_virt(PhysAddr::new(range.start)).cast_const(), len)
    };
    let start = PhysAddr::new(root.start);
    // SAFETY: the root image lies in a region that was given to the frame
    // allocator as in use; the file system asks for its own pages only.
    let frames = move |page| unsafe {
        Frame::of_region_in_use(start + page as u64 * kmm::FRAME_SIZE as u64)
    };
    let root = RootImage { bytes: bytes(&root), frames: Box::new(frames) };
    Some(Appended { config: bytes(&config), root })
}
