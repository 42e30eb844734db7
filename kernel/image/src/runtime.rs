// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a freestanding binary owes to the compiler: heap, panic, unwinder stubs.
#![expect(unsafe_code, reason = "defines the symbols that the toolchain asks for")]

use alloc::format;
use core::panic::PanicInfo;
use kmm::KernelHeap;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap::new();

/// Never called: panics abort. The prebuilt standard crates name it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    khal::machine::power_off(255)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    khal::console::write(format!("kernel {info}\n").as_bytes());
    khal::machine::power_off(254)
}

#[unsafe(no_mangle)]
fn kernel_payload() -> (u64, u64) {
    (0, 0)
}

/// Where the architecture's start-up code goes when it is done.
#[unsafe(no_mangle)]
fn kernel_main() -> ! {
    crate::main()
}
