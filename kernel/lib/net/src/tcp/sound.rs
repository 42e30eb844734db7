// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What holds of every control block between two operations, for tests.

use super::scoreboard::Scoreboard;
use super::seq::Seq;
use super::socket::TcpSocket;
use super::state::{State, Tcb};

impl TcpSocket {
    pub(crate) fn assert_sound(&self) {
        self.inner.lock().assert_sound();
    }
}

impl Tcb {
    fn assert_sound(&self) {
        if !self.state.is_synchronized() {
            return;
        }
        self.assert_sending_is_sound();
        self.assert_receiving_is_sound();
        let next = self.deadlines.next();
        assert!(
            next.is_none_or(|at| self.timer.is_some_and(|t| t.at() <= at)),
            "a deadline without a timer"
        );
    }

    fn assert_sending_is_sound(&self) {
        let s = &self.send;
        let fin = usize::from(s.fin_sent);
        assert!(s.una.le(s.nxt), "{:?} acknowledged of {:?}", s.una, s.nxt);
        assert!(s.nxt.le(self.data_end() + fin), "more sent than there is");
        assert_eq!(s.base, s.una.min(self.data_end()), "the buffer begins at what is not acked");
        assert!(!s.fin_sent || s.nxt == self.data_end() + 1, "data behind the FIN");
        assert!(s.board.lost_edge.le(s.nxt), "lost what was not sent");
        assert!(s.board.retransmitted.le(s.nxt), "sent again what was not sent");
        s.board.assert_sound(s.una, s.nxt);
        let waits = self.deadlines.retransmit.is_some() || self.deadlines.cork.is_some();
        let something = self.data_end() + usize::from(s.fin_queued) != s.una;
        assert!(!something || waits, "{:?}: nothing will send what is left", self.state);
        let closing = matches!(
            self.state,
            State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck
        );
        assert_eq!(closing, s.fin_queued, "{:?}", self.state);
    }

    fn assert_receiving_is_sound(&self) {
        let r = &self.receive;
        assert!(r.nxt.le(r.edge), "beyond the window");
        assert!(r.acked.le(r.nxt), "acknowledged what is not there");
        assert!(
            r.early.end().is_none_or(|end| end.le(r.edge + 1)),
            "kept what is beyond the window"
        );
    }
}

impl Scoreboard {
    fn assert_sound(&self, una: Seq, nxt: Seq) {
        let mut behind = una;
        for (start, end) in self.ranges() {
            assert!(behind.le(start) && start.lt(end), "ranges out of order");
            behind = end;
        }
        assert!(behind.le(nxt), "the peer has what was not sent");
    }
}
