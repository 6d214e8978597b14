//! Explicit congestion notification (RFC 3168), the sender's side: an echo is as good a reason to reduce as a
//! loss, once a window; and the receiver hears of it by CWR on the next new data.

use super::Sender;

impl Sender {
    /// True once after each reduction: the next new data segment must carry CWR (RFC 3168 section 6.1.2; never
    /// a retransmission, section 6.1.5).
    pub fn cwr_due(&mut self) -> bool {
        core::mem::take(&mut self.cwr_due)
    }

    /// A reduction for whatever reason is told (RFC 3168 section 6.1.2).
    pub(super) fn queue_cwr(&mut self) {
        self.cwr_due = self.agreed.ecn;
    }

    /// The reduction was taken back before it was told.
    pub(super) fn withdraw_cwr(&mut self) {
        self.cwr_due = false;
    }
}
