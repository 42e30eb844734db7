// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host in place of a machine, so that everything above is tested there.
//!
//! Page tables are the real ones, in the memory that `kmm::hosted` plays, behind a TLB that
//! remembers what is not flushed. Each thread of a test is a CPU of its own with the number 0.
//! There are no interrupts, and tasks are not switched.
#![expect(unsafe_code, reason = "reaches into the memory that plays the machine's")]

mod cpu;
mod fpu;
mod memory;
mod percpu;
mod shootdown;
mod task;
mod time;
mod user;

#[path = "../x86_64/frame.rs"]
mod frame;
#[path = "../x86_64/paging.rs"]
mod paging;
#[path = "../x86_64/scale.rs"]
mod scale;
#[expect(dead_code, reason = "the kernel's own half is mapped by start-up code alone")]
#[path = "../x86_64/table.rs"]
mod table;

pub use fpu::FpuState;
pub use frame::{TrapFrame, VECTOR_SYSCALL};
pub use paging::{Access, Activation, HUGE_SIZE, Mapping, USER_END, UserPageTable};
pub use task::Task;

/// Where the kernel above wants to be called. Nothing calls it here.
#[expect(missing_debug_implementations, reason = "as on the machine")]
pub struct Handlers {
    /// A system call.
    pub system_call: fn(&mut TrapFrame),
    /// A page fault of user code: frame, address, error code.
    pub page_fault: fn(&mut TrapFrame, u64, u64),
    /// Any other exception of user code: frame and vector.
    pub exception: fn(&mut TrapFrame, u64),
    /// The local timer fired.
    pub timer: fn(),
    /// After an interrupt, before going back to user code.
    pub before_user: fn(&mut TrapFrame),
}

/// CPUs: who runs, sleeping, waking others.
pub mod cpus {
    /// As on the machine.
    pub const MAX_CPUS: usize = 64;

    /// CPUs that run.
    pub fn count() -> usize {
        1
    }

    /// Number of the CPU that runs this.
    pub fn current() -> usize {
        super::percpu::current().index()
    }

    /// Nobody else has anything to forget.
    pub fn synchronise() {}

    /// There is no other.
    pub fn wake(_index: usize) {}

    /// Nothing interrupts: lets other threads run.
    pub fn wait_for_interrupt() {
        std::thread::yield_now();
    }
}

/// The host's clocks.
pub mod clock {
    pub use super::time::{
        Scale, busy_wait, generation, monotonic, realtime, realtime_offset, scale, set_deadline,
        set_realtime,
    };
}

/// Tasks, of which each thread runs one for ever.
pub mod tasks {
    pub use super::task::{
        Task, adopt, copy_fpu_to, current, current_arc, enter_user, start_first, switch_to,
        user_stack_pointer, wait_until_saved, with_current_fpu,
    };
}

/// User memory, through the page tables.
pub mod user_memory {
    pub use super::user::{compare_exchange_user, copy_from_user, copy_to_user};
}

/// Standard error.
pub mod console {
    use ksync::SpinGuard;
    use std::io::Write as _;

    /// Writes; what fails is lost.
    pub fn write(bytes: &[u8]) {
        let _ = std::io::stderr().write_all(bytes);
    }

    /// Writes; what fails is lost.
    pub fn write_unlocked(bytes: &[u8]) {
        write(bytes);
    }

    /// There is no channel for records.
    pub fn has_control_channel() -> bool {
        false
    }

    /// There is no channel for records.
    pub fn reserve_channel() -> Option<SpinGuard<'static, ()>> {
        None
    }

    /// There is no channel for records.
    pub fn write_control(_text: &str) {}
}

/// Power.
pub mod machine {
    pub use super::Handlers;

    /// Nothing traps here.
    pub fn set_handlers(_handlers: Handlers) {}

    /// There is no other.
    pub fn stop_others() {}

    /// Ends the process.
    pub fn power_off(status: u8) -> ! {
        std::process::exit(status.into())
    }
}

/// Extended register state.
pub mod extended_state {
    pub use super::fpu::{component_mask, state_size};
}

/// The vDSO, without code of its own.
pub mod vdso_code {
    use kmm::Frame;
    use kvdso::TimePage;

    /// Where code starts in the image.
    pub const CODE_OFFSET: usize = 0x800;

    /// A return instruction for each function.
    pub fn code() -> &'static [u8] {
        &[0xc3; 5]
    }

    /// Name without `__vdso_`, offset within [`code`].
    pub fn functions() -> [(&'static str, usize); 5] {
        ["clock_gettime", "gettimeofday", "time", "clock_getres", "getcpu"].map({
            let mut offset = 0;
            move |name| {
                offset += 1;
                (name, offset - 1)
            }
        })
    }

    /// The time page in a frame that starts as zeroes.
    pub fn time_page(frame: &Frame) -> &TimePage {
        // SAFETY: the page is made of atomics, for which any bytes are valid;
        // a frame is aligned, and lives as long as the handle.
        unsafe { &*frame.as_ptr().cast::<TimePage>() }
    }
}

/// Random words.
pub mod random {
    use std::hash::{BuildHasher as _, RandomState};

    /// A word with the host's randomness.
    pub fn hardware_word() -> Option<u64> {
        Some(RandomState::new().hash_one(0))
    }

    /// Not random, but different each time.
    pub fn cycle_counter() -> u64 {
        super::time::monotonic().as_nanos()
    }
}

/// AT_HWCAP: no features.
pub fn hardware_capabilities() -> u32 {
    0
}
