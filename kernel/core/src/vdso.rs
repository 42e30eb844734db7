// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vDSO in every program: built once, mapped with the time page before it.

use crate::mm::{AddressSpace, Backing, MapRequest, Placement, Protection};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kio::{Errno, Result};
use kmm::Frame;
use ksync::{Once, SpinLock};
use kvdso::{Code, PAGE_SIZE, TimeScale};

struct Vdso {
    time: Arc<Vec<Frame>>,
    code: Arc<Vec<Frame>>,
}

static VDSO: Once<Vdso> = Once::new();
static PUBLISHING: SpinLock<()> = SpinLock::new(());
/// Programs have to ask for the time.
static ASKING: AtomicBool = AtomicBool::new(false);

fn vdso() -> Result<&'static Vdso> {
    if let Some(vdso) = VDSO.get() {
        return Ok(vdso);
    }
    let functions = khal::vdso_code::functions();
    let image = kvdso::build(&Code {
        bytes: khal::vdso_code::code(),
        offset: khal::vdso_code::CODE_OFFSET,
        functions: &functions,
    })
    .map_err(|_| Errno::ENOEXEC)?;
    let time = Frame::allocate_zeroed_for_user().map_err(|_| Errno::ENOMEM)?;
    let code = Frame::allocate_zeroed_for_user().map_err(|_| Errno::ENOMEM)?;
    code.write(0, &image);
    let made = Vdso { time: Arc::new(alloc::vec![time]), code: Arc::new(alloc::vec![code]) };
    let _ = VDSO.set(made);
    publish_time();
    VDSO.get().ok_or(Errno::ENOMEM)
}

/// Publishes the time again if the clock's scale changed.
pub fn follow_clock() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let now = khal::clock::generation();
    if SEEN.load(Ordering::Relaxed) != now {
        SEEN.store(now, Ordering::Relaxed);
        publish_time();
    }
}

/// Tells programs the clock's scale whenever it changes, or that they have to ask.
pub fn publish_time() {
    let Some(vdso) = VDSO.get() else { return };
    let _one = PUBLISHING.lock();
    let scale = khal::clock::scale().map(|scale| TimeScale {
        tsc_base: scale.base_tsc,
        tsc_mult: scale.mult,
        tsc_shift: 32,
        base_ns: scale.base_ns,
        realtime_offset_ns: khal::clock::realtime_offset(),
    });
    khal::vdso_code::time_page(&vdso.time[0]).publish(scale.as_ref());
    let asking = scale.is_none();
    if ASKING.swap(asking, Ordering::Relaxed) != asking {
        let time = if asking { "KVM's clock, the CPUs' counters differ" } else { "the counters" };
        info!("time is told by {time}");
    }
}

/// Maps time page and code; returns where the code is.
pub fn map(space: &AddressSpace) -> Result<u64> {
    let vdso = vdso()?;
    let page = PAGE_SIZE as u64;
    let request = |placement, len, protection, frames, label| MapRequest {
        placement,
        len,
        protection,
        shared: true,
        may_write: false,
        grows_down: false,
        backing: Backing::Frames(frames),
        label,
    };
    let read = Protection::READ;
    // Both pages in one gap: reserve, then put the code over its half.
    let at = space.map(request(Placement::Hint(0), 2 * page, read, vdso.time.clone(), "[vvar]"))?;
    space.map(request(
        Placement::Fixed(at + page),
        page,
        read | Protection::EXECUTE,
        vdso.code.clone(),
        "[vdso]",
    ))?;
    Ok(at + page)
}
