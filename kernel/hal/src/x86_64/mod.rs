// SPDX-License-Identifier: Apache-2.0 OR MIT
//! x86-64: everything that only this architecture has.
#![expect(unsafe_code, reason = "this is where the hardware is")]

mod apic;
mod boot;
mod boot_info;
mod cpu;
mod debug;
mod deep_stack;
mod entry;
mod fpu;
mod frame;
mod interrupt;
mod keyboard_controller;
mod kvm_clock;
mod memory;
mod paging;
mod percpu;
mod power;
mod scale;
mod serial;
mod shootdown;
mod smp;
mod string;
mod table;
mod task;
mod time;
mod trap;
mod user;
mod vdso;

pub use boot::Protocol;
pub use boot_info::BootInfo;
pub use debug::{backtrace, boot_tsc};
pub use deep_stack::DeepStack;
pub use fpu::FpuState;
pub use frame::{TrapFrame, VECTOR_SYSCALL};
pub use paging::{Access, Activation, HUGE_SIZE, Mapping, USER_END, UserPageTable};
pub use task::Task;
pub use trap::Handlers;

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

/// CPUs: who runs, sleeping, waking others.
pub mod cpus {
    pub use super::cpu::interrupt_window;
    /// Sleeps until an interrupt with the thread that runs here kept in place.
    pub use super::cpu::wait_for_interrupt as doze;
    pub use super::percpu::{MAX_CPUS, count};
    pub use super::shootdown::wait_for_interrupt;
    pub use super::smp::start_others;

    /// Number of the CPU that runs this, dense from 0.
    #[inline]
    pub fn current() -> usize {
        super::percpu::current().index()
    }

    /// Makes every other CPU pass through the kernel: a full barrier on each.
    pub fn synchronise() {
        super::shootdown::flush_others(u64::MAX, super::shootdown::Scope::Barrier);
    }

    /// Interrupts a CPU, so that it looks at its run queue.
    pub fn wake(index: usize) {
        super::apic::send_interrupt(super::percpu::of(index).apic_id(), super::apic::VECTOR_WAKE);
    }
}

/// Clocks and the wake-up timer of each CPU.
pub mod clock {
    pub use super::time::{
        Scale, busy_wait, generation, monotonic, realtime, realtime_offset, resume, scale,
        set_deadline, set_realtime, tsc_hz,
    };
}

/// Tasks and switching between them.
pub mod tasks {
    pub use super::task::{
        Task, adopt, copy_fpu_to, current, current_arc, enter_user, start_first, switch_to,
        user_stack_pointer, wait_until_saved, with_current_fpu,
    };
}

/// User memory.
pub mod user_memory {
    pub use super::user::{compare_exchange_user, copy_from_user, copy_to_user};
}

/// Serial port and debug console.
pub mod console {
    pub use super::serial::{
        Received, enable_receive_interrupt, has_control_channel, hold_data, read, reserve_channel,
        take_break, write, write_control, write_unlocked,
    };
}

/// The keyboard controller.
pub mod keyboard {
    pub use super::keyboard_controller::{is_present, read};
}

/// Interrupt controllers, power, and the platform for drivers.
pub mod machine {
    pub use super::interrupt::{PLATFORM, add_io_apic};
    pub use super::power::{power_off, stop_others};
    pub use super::trap::set_handlers;
}

/// Extended register state.
pub mod extended_state {
    pub use super::fpu::{component_mask, state_size};
}

/// The vDSO's machine code.
pub mod vdso_code {
    pub use super::vdso::{CODE_OFFSET, code, functions};
    use kmm::Frame;
    use kvdso::TimePage;

    /// The time page in a frame that starts as zeroes.
    pub fn time_page(frame: &Frame) -> &TimePage {
        // SAFETY: the page is made of atomics, for which any bytes are valid;
        // a frame is aligned, and lives as long as the handle.
        unsafe { &*frame.as_ptr().cast::<TimePage>() }
    }
}

/// Random words from the CPU.
pub mod random {
    use core::arch::asm;

    /// A word from RDSEED or RDRAND, if the CPU has one of them and it works.
    pub fn hardware_word() -> Option<u64> {
        let features = super::cpu::Features::detect();
        let mut value: u64;
        let mut ok: u8;
        for _ in 0..32 {
            if features.rdseed {
                // SAFETY: CPUID says that RDSEED exists.
                unsafe { asm!("rdseed {}", "setc {}", out(reg) value, out(reg_byte) ok) };
            } else if features.rdrand {
                // SAFETY: CPUID says that RDRAND exists.
                unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok) };
            } else {
                return None;
            }
            if ok != 0 {
                return Some(value);
            }
        }
        None
    }

    /// The time-stamp counter: not random, but different at each boot.
    pub fn cycle_counter() -> u64 {
        super::cpu::rdtsc()
    }
}

struct BootCell(UnsafeCell<BootInfo>);
// SAFETY: written once, before anything else runs.
unsafe impl Sync for BootCell {}
static BOOT_INFO: BootCell = BootCell(UnsafeCell::new(BootInfo::empty()));
static BOOT_TSC: AtomicU64 = AtomicU64::new(0);

/// AT_HWCAP: the feature bits of CPUID leaf 1.
pub fn hardware_capabilities() -> u32 {
    cpu::cpuid(1).edx
}

/// What the loader told.
pub fn boot_info() -> &'static BootInfo {
    // SAFETY: `start` wrote it before it called anything that reads it.
    unsafe { &*BOOT_INFO.0.get() }
}

unsafe extern "Rust" {
    /// RAM that holds more than the kernel image: provided by the image crate.
    fn kernel_payload() -> (u64, u64);
    /// The kernel proper: provided by the image crate.
    fn kernel_main() -> !;
}

/// Turns on protection bits that the CPU has.
///
/// # Safety
/// Early on each CPU; user memory is not touched without `stac` after.
unsafe fn enable_features(features: &cpu::Features) {
    let mut cr4 = cpu::cr4();
    for (has, bit) in [(features.umip, 11), (features.smep, 20), (features.smap, 21)] {
        if has {
            cr4 |= 1 << bit;
        }
    }
    if features.pge {
        cr4 |= 1 << 7;
    }
    // SAFETY: each bit is offered by the CPU and only restricts.
    unsafe { cpu::set_cr4(cr4) };
    if features.smap {
        user::use_smap();
    }
}

/// The first CPU, from the boot assembly.
fn start(protocol: Protocol, info: u64) -> ! {
    BOOT_TSC.store(cpu::rdtsc(), Ordering::Relaxed);
    let features = cpu::Features::detect();
    // SAFETY: runs once, on the first CPU, before everything else, with the
    // boot tables loaded; the image crate's symbols have these types.
    unsafe {
        percpu::set_up(0, 0, None);
        trap::build_table();
        trap::load();
        serial::set_up();
        (*BOOT_INFO.0.get()).read(protocol, info);
        serial::choose_channel(boot_info());
        let in_use = [memory::kernel_image(), kernel_payload()];
        if memory::set_up(boot_info(), &in_use).is_err() {
            serial::write(b"bhojpur: not enough memory to start\r\n");
            power::power_off(1);
        }
        percpu::current().root.store(memory::root().as_u64(), Ordering::Relaxed);
        enable_features(&features);
    }
    fpu::set_up(&features);
    interrupt::disable_legacy();
    apic::set_up(&features);
    percpu::set_first_apic_id(apic::id());
    percpu::announce();
    ksync::set_relax_hook(shootdown::relax);
    time::set_up(BOOT_TSC.load(Ordering::Relaxed));
    // SAFETY: provided by the image crate, with this signature.
    unsafe { kernel_main() }
}
