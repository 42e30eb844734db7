// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What happens next to a thread on its way back to the program.

use crate::{
    ActionFlags, DefaultAction, Dispositions, Handler, Pending, SigAction, SigInfo, SignalSet,
};
use kio::Errno;

/// What to do about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Build a frame and run the handler; `blocked` is the new mask (the old
    /// one goes into the frame).
    Handle { info: SigInfo, action: SigAction, blocked: SignalSet },
    /// End the process; with `core` the report says "core dumped".
    Terminate { info: SigInfo, core: bool },
    /// Stop the process.
    Stop { info: SigInfo },
}

/// Takes the next signal that `blocked` lets through, of the thread first, then
/// of the process, and says what to do; those that do nothing are dropped.
/// Call it until it returns `None`: each handler nests on the one before.
pub fn deliver(
    thread: &mut Pending,
    process: &mut Pending,
    blocked: SignalSet,
    dispositions: &mut Dispositions,
) -> Option<Delivery> {
    let wanted = !blocked.blockable();
    loop {
        let info = thread
            .take_fault(wanted)
            .or_else(|| thread.take(wanted))
            .or_else(|| process.take(wanted))?;
        if let Some(delivery) = decide(info, blocked, dispositions) {
            return Some(delivery);
        }
    }
}

fn decide(info: SigInfo, blocked: SignalSet, dispositions: &mut Dispositions) -> Option<Delivery> {
    let action = dispositions.action(info.signal);
    match action.handler {
        Handler::Ignore => None,
        Handler::Default => match info.signal.default_action() {
            DefaultAction::Ignore | DefaultAction::Continue => None,
            DefaultAction::Terminate => Some(Delivery::Terminate { info, core: false }),
            DefaultAction::Core => Some(Delivery::Terminate { info, core: true }),
            DefaultAction::Stop => Some(Delivery::Stop { info }),
        },
        Handler::Function(_) => {
            let mut mask = blocked | action.mask;
            if !action.flags.contains(ActionFlags::NODEFER) {
                mask.insert(info.signal);
            }
            if action.flags.contains(ActionFlags::RESETHAND) {
                dispositions.action_mut(info.signal).handler = Handler::Default;
            }
            Some(Delivery::Handle { info, action, blocked: mask.blockable() })
        }
    }
}

/// Makes sure that a fault cannot be ignored: if its signal is blocked or
/// ignored, the disposition becomes the default and the signal is unblocked.
/// Then the caller sends it to the thread.
pub fn force(info: &SigInfo, blocked: &mut SignalSet, dispositions: &mut Dispositions) {
    let action = dispositions.action_mut(info.signal);
    if action.handler == Handler::Ignore || blocked.contains(info.signal) {
        action.handler = Handler::Default;
    }
    blocked.remove(info.signal);
}

/// What an interrupted system call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Run the system call instruction again with the same arguments.
    Again,
    /// Return this error.
    Fail(Errno),
}

/// What becomes of a call that ended with `error`, when `handler` is the first
/// handler that runs now (`None`: no handler runs). `None` when the call was
/// not interrupted.
pub fn resume(error: Errno, handler: Option<&SigAction>) -> Option<Restart> {
    let restarts = handler.is_none_or(|action| action.flags.contains(ActionFlags::RESTART));
    match error {
        Errno::ERESTARTNOINTR => Some(Restart::Again),
        Errno::ERESTARTSYS if restarts => Some(Restart::Again),
        Errno::ERESTARTNOHAND if handler.is_none() => Some(Restart::Again),
        Errno::ERESTARTSYS | Errno::ERESTARTNOHAND => Some(Restart::Fail(Errno::EINTR)),
        _ => None,
    }
}
