//! Replies that were written when the service started: what changes from one request to the next (the date, the
//! connection's fate, the bytes of an upload) stands at known places.
//!
//! ```text
//!   HTTP/1.1 200 OK CRLF
//!   Date: Sun, 06 Nov 1994 08:49:37 GMT CRLF       29 bytes that change once a second
//!   …
//!   Content-Length: 12 CRLF
//!   Connection: close CRLF                         three versions of each head: Fate
//!   CRLF
//!   Hello world!                                   behind the head when it is short: then one copy sends both
//! ```
//!
//! Sending may stop anywhere and go on later, while other connections are sent the same reply: who goes on in the
//! middle of a head gives the date with which he began, and it is put back before he reads on. So no peer sees
//! half of one date and half of another.

use crate::builtin::pattern::Pattern;
use crate::builtin::wall::{Date, HTTP_DATE, digits};
use std::sync::Arc;

/// Bodies up to here lie behind their heads, in all three versions. A page of memory: a larger copy costs more than
/// the second call that it saves.
const JOINED: usize = 4096;

/// Digits of the count of an upload: all that fit in 64 bits.
pub const COUNT_DIGITS: usize = 20;

/// What becomes of the connection after a reply, as its head says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on, as HTTP/1.1 does when nothing is said.
    Persists,
    /// It goes on although the client speaks HTTP/1.0.
    KeepAlive,
    /// It ends.
    Closes,
}

impl Fate {
    const ALL: [Fate; 3] = [Fate::Persists, Fate::KeepAlive, Fate::Closes];

    const fn field(self) -> &'static str {
        match self {
            Fate::Persists => "",
            Fate::KeepAlive => "Connection: keep-alive\r\n",
            Fate::Closes => "Connection: close\r\n",
        }
    }
}

/// A body.
#[derive(Debug, Clone)]
pub enum Body {
    /// Bytes, which workers share.
    Bytes(Arc<[u8]>),
    /// So many bytes of the pattern.
    Pattern(u64),
    /// The bytes of an upload in [`COUNT_DIGITS`] digits, and the end of the line.
    Count,
}

impl Body {
    fn len(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Pattern(len) => *len,
            Body::Count => COUNT_DIGITS as u64 + 1,
        }
    }
}

/// How far a reply was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The version of the head.
    pub fate: Fate,
    /// Only the head is sent (RFC 9110 section 9.3.2).
    pub head_only: bool,
    /// Bytes sent.
    pub at: u64,
    /// The time of day when it began, in seconds since 1970.
    pub second: u64,
    /// The bytes of the upload that it answers.
    pub count: u64,
}

/// A reply, ready to be sent.
#[derive(Debug)]
pub struct Reply {
    versions: [Version; 3],
    body: Body,
    len: u64,
}

#[derive(Debug)]
struct Version {
    /// The head, and the body if it is short.
    text: Box<[u8]>,
    head: usize,
    date: Option<usize>,
    second: u64,
}

impl Reply {
    /// A reply with this status line (`200 OK`), further fields (each with its CRLF) and body.
    pub fn new(status: &str, fields: &str, body: Body) -> Reply {
        let len = body.len();
        let versions = Fate::ALL.map(|fate| {
            let date = Date::of(0).http();
            let date = core::str::from_utf8(&date).unwrap_or_default();
            let start = format!("HTTP/1.1 {status}\r\nDate: ");
            let head = format!(
                "{start}{date}\r\nServer: flumen\r\n{fields}Content-Length: {len}\r\n{}\r\n",
                fate.field()
            );
            Version::new(head.into_bytes(), Some(start.len()), &body)
        });
        Reply { versions, body, len }
    }

    /// "100 Continue": the final reply comes later (RFC 9110 section 15.2.1).
    pub fn interim() -> Reply {
        let body = Body::Pattern(0);
        let version = || Version::new(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), None, &body);
        Reply { versions: [version(), version(), version()], len: 0, body: body.clone() }
    }

    /// What is to be sent next, as far as it lies in one piece; nothing at the end.
    #[inline]
    pub fn next<'a>(&'a mut self, progress: &Progress, pattern: &'a Pattern) -> &'a [u8] {
        let version = &mut self.versions[progress.fate as usize];
        let text = if progress.head_only { version.head } else { version.text.len() };
        let at = usize::try_from(progress.at).unwrap_or(usize::MAX);
        if at < text {
            version.stamp(progress, &self.body);
            return &version.text[at..text];
        }
        if progress.head_only || version.head < text {
            return &[];
        }
        let at = progress.at - text as u64;
        match &self.body {
            Body::Bytes(bytes) => usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]),
            Body::Pattern(len) => {
                let piece = pattern.from(at);
                &piece[..piece.len().min(usize::try_from(len - at).unwrap_or(usize::MAX))]
            }
            Body::Count => &[],
        }
    }

    /// Bytes in all.
    #[inline]
    pub fn total(&self, progress: &Progress) -> u64 {
        let head = self.versions[progress.fate as usize].head as u64;
        if progress.head_only { head } else { head + self.len }
    }
}

impl Version {
    fn new(mut text: Vec<u8>, date: Option<usize>, body: &Body) -> Version {
        let head = text.len();
        match body {
            Body::Bytes(bytes) if bytes.len() <= JOINED => text.extend_from_slice(bytes),
            Body::Count => {
                text.extend_from_slice(&[b'0'; COUNT_DIGITS]);
                text.push(b'\n');
            }
            Body::Bytes(_) => {}
            Body::Pattern(len) if *len <= JOINED as u64 => {
                text.extend_from_slice(&Pattern::default().from(0)[..*len as usize]);
            }
            Body::Pattern(_) => {}
        }
        Version { text: text.into_boxed_slice(), head, date, second: 0 }
    }

    /// Makes the text the one that was begun.
    #[inline]
    fn stamp(&mut self, progress: &Progress, body: &Body) {
        if let Some(at) = self.date
            && self.second != progress.second
        {
            self.second = progress.second;
            self.text[at..at + HTTP_DATE].copy_from_slice(&Date::of(progress.second).http());
        }
        if let Body::Count = body {
            digits(&mut self.text[self.head..self.head + COUNT_DIGITS], progress.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: u64 = 784_111_777;

    fn progress(fate: Fate, head_only: bool) -> Progress {
        Progress { fate, head_only, at: 0, second: BEGUN, count: 0 }
    }

    /// Sends all of it, at most `step` bytes at a time, while others are sent it at other times.
    fn send(reply: &mut Reply, mut progress: Progress, step: usize) -> String {
        let pattern = Pattern::default();
        let mut sent = Vec::new();
        while progress.at < reply.total(&progress) {
            let piece = reply.next(&progress, &pattern);
            let piece = &piece[..piece.len().min(step)];
            assert!(!piece.is_empty(), "stuck at {}", progress.at);
            sent.extend_from_slice(piece);
            progress.at += piece.len() as u64;
            let other = Progress { at: 0, second: progress.at, count: progress.at, ..progress };
            reply.next(&other, &pattern);
        }
        assert!(reply.next(&progress, &pattern).is_empty());
        String::from_utf8(sent).unwrap()
    }

    #[test]
    fn a_reply_is_the_same_whole_and_in_pieces_whoever_else_is_sent_it() {
        let mut reply =
            Reply::new("200 OK", "Content-Type: text/plain\r\n", Body::Bytes(b"Hello".to_vec().into()));
        let wanted = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: flumen\r\n\
                      Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nHello";
        for step in [usize::MAX, 1, 7] {
            assert_eq!(send(&mut reply, progress(Fate::Persists, false), step), wanted);
        }
        assert_eq!(send(&mut reply, progress(Fate::Persists, true), 3), wanted.trim_end_matches("Hello"));
    }

    #[test]
    fn heads_say_what_becomes_of_the_connection() {
        let mut reply = Reply::new("200 OK", "", Body::Pattern(1));
        for (fate, says) in [
            (Fate::KeepAlive, "\r\nConnection: keep-alive\r\n\r\n "),
            (Fate::Closes, "\r\nConnection: close\r\n\r\n "),
        ] {
            assert!(send(&mut reply, progress(fate, false), 5).ends_with(says));
        }
        assert!(!send(&mut reply, progress(Fate::Persists, false), 5).contains("Connection"));
    }

    #[test]
    fn bodies_at_the_edge_of_being_joined_are_whole() {
        let pattern = Pattern::default();
        for len in [0, 1, JOINED - 1, JOINED, JOINED + 1, 100_000] {
            let bytes: Vec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
            let mut of_bytes = Reply::new("200 OK", "", Body::Bytes(bytes.clone().into()));
            let sent = send(&mut of_bytes, progress(Fate::Persists, false), 1000);
            assert_eq!(sent.split_once("\r\n\r\n").unwrap().1.as_bytes(), bytes);
            let mut of_pattern = Reply::new("200 OK", "", Body::Pattern(len as u64));
            let sent = send(&mut of_pattern, progress(Fate::Persists, false), 1000);
            let body = sent.split_once("\r\n\r\n").unwrap().1;
            assert!(sent.contains(&format!("Content-Length: {len}\r\n")) && body.len() == len);
            assert!(body.bytes().enumerate().all(|(at, byte)| byte == pattern.from(at as u64)[0]));
        }
    }

    #[test]
    fn an_upload_is_told_its_length() {
        let mut reply = Reply::new("200 OK", "", Body::Count);
        let sent = send(&mut reply, Progress { count: 1 << 30, ..progress(Fate::Persists, false) }, 1);
        assert!(sent.ends_with("Content-Length: 21\r\n\r\n00000000001073741824\n"), "{sent}");
    }

    #[test]
    fn continue_is_a_head_and_nothing_else() {
        let sent = send(&mut Reply::interim(), progress(Fate::Persists, false), 4);
        assert_eq!(sent, "HTTP/1.1 100 Continue\r\n\r\n");
    }
}
