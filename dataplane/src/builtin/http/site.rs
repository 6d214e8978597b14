//! What there is to be had: paths and the replies to them. A path that is not in the table does not exist, so no path
//! leads out of the directory that was loaded: nothing is opened for a request.

use super::files::File;
use super::reply::{Body, Reply};
use super::request::{MAX_TARGET, Method, Refusal, Request};
use crate::config::model::HttpService;
use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

/// A reply of a site: its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyId(u32);

/// Replies that every site has, in the order of their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Fixed {
    /// 100: go on with the body.
    Continue,
    /// 200: the upload came, so many bytes.
    Received,
    /// 400.
    Malformed,
    /// 404.
    NotFound,
    /// 405 for what can be had.
    OnlyGet,
    /// 405 for where something can be left.
    OnlyPut,
    /// 408.
    TooSlow,
    /// 413.
    BodyTooLong,
    /// 414.
    TargetTooLong,
    /// 417.
    Expectation,
    /// 431.
    HeadTooLong,
    /// 501.
    Unknown,
    /// 503.
    Busy,
    /// 505.
    Version,
}

impl Fixed {
    const ALL: [Fixed; 14] = [
        Fixed::Continue,
        Fixed::Received,
        Fixed::Malformed,
        Fixed::NotFound,
        Fixed::OnlyGet,
        Fixed::OnlyPut,
        Fixed::TooSlow,
        Fixed::BodyTooLong,
        Fixed::TargetTooLong,
        Fixed::Expectation,
        Fixed::HeadTooLong,
        Fixed::Unknown,
        Fixed::Busy,
        Fixed::Version,
    ];

    fn reply(self) -> Reply {
        let plain = |status: &str, more: &str| {
            let body = format!("{status}\n").into_bytes().into();
            Reply::new(status, &format!("Content-Type: text/plain\r\n{more}"), Body::Bytes(body))
        };
        match self {
            Fixed::Continue => Reply::interim(),
            Fixed::Received => Reply::new("200 OK", "Content-Type: text/plain\r\n", Body::Count),
            Fixed::Malformed => plain("400 Bad Request", ""),
            Fixed::NotFound => plain("404 Not Found", ""),
            Fixed::OnlyGet => plain("405 Method Not Allowed", "Allow: GET, HEAD\r\n"),
            Fixed::OnlyPut => plain("405 Method Not Allowed", "Allow: PUT, POST\r\n"),
            Fixed::TooSlow => plain("408 Request Timeout", ""),
            Fixed::BodyTooLong => plain("413 Content Too Large", ""),
            Fixed::TargetTooLong => plain("414 URI Too Long", ""),
            Fixed::Expectation => plain("417 Expectation Failed", ""),
            Fixed::HeadTooLong => plain("431 Request Header Fields Too Large", ""),
            Fixed::Unknown => plain("501 Not Implemented", ""),
            Fixed::Busy => plain("503 Service Unavailable", "Retry-After: 1\r\n"),
            Fixed::Version => plain("505 HTTP Version Not Supported", ""),
        }
    }
}

impl From<Fixed> for ReplyId {
    fn from(fixed: Fixed) -> ReplyId {
        ReplyId(fixed as u32)
    }
}

impl From<Refusal> for Fixed {
    fn from(refusal: Refusal) -> Fixed {
        match refusal {
            Refusal::Malformed => Fixed::Malformed,
            Refusal::TargetTooLong => Fixed::TargetTooLong,
            Refusal::Expectation => Fixed::Expectation,
            Refusal::HeadTooLong => Fixed::HeadTooLong,
            Refusal::Unknown => Fixed::Unknown,
            Refusal::Version => Fixed::Version,
        }
    }
}

/// What a request is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// This reply.
    Reply(ReplyId),
    /// The body is taken first.
    Upload,
}

/// The paths and replies of one service, on one worker.
#[derive(Debug)]
pub struct Site {
    replies: Vec<Reply>,
    paths: HashMap<Box<[u8]>, ReplyId, BuildHasherDefault<Fold>>,
    upload: Option<Box<[u8]>>,
    /// The longest body that is taken, in bytes.
    pub max_body: u64,
}

impl Site {
    /// The site that a configuration describes, with the files of its directory.
    pub fn new(config: &HttpService, files: &[File]) -> Site {
        let mut site = Site {
            replies: Fixed::ALL.map(Fixed::reply).into(),
            paths: HashMap::default(),
            upload: config.upload.as_ref().map(|path| path.as_bytes().into()),
            max_body: config.max_body,
        };
        let greeting = "This is Flumen.\n".as_bytes();
        site.add("/", "text/plain", Body::Bytes(greeting.into()));
        for file in files {
            site.add(&file.path, file.kind, Body::Bytes(file.bytes.clone()));
            if let Some(folder) = file.path.strip_suffix(INDEX)
                && folder.ends_with('/')
            {
                site.add(folder, file.kind, Body::Bytes(file.bytes.clone()));
            }
        }
        for response in &config.responses {
            site.add(&response.path, "text/plain", Body::Pattern(response.bytes));
        }
        site
    }

    /// What is said at `path` from now on.
    fn add(&mut self, path: &str, kind: &str, body: Body) {
        let id = ReplyId(self.replies.len() as u32);
        self.replies.push(Reply::new("200 OK", &format!("Content-Type: {kind}\r\n"), body));
        self.paths.insert(path.as_bytes().into(), id);
    }

    /// What the answer to a request is.
    #[inline]
    pub fn answer(&self, request: &Request<'_>) -> Answer {
        if request.path.contains(&b'%') {
            return self.answer_encoded(request);
        }
        self.answer_at(request.path, request.method)
    }

    /// Its own function, so that only a path that needs it pays for the room.
    #[cold]
    fn answer_encoded(&self, request: &Request<'_>) -> Answer {
        match decode(request.path, &mut [0; MAX_TARGET]) {
            Some(path) => self.answer_at(path, request.method),
            None => Answer::Reply(Fixed::Malformed.into()),
        }
    }

    #[inline]
    fn answer_at(&self, path: &[u8], method: Method) -> Answer {
        let uploads = self.is_upload(path);
        match (self.paths.get(path), method) {
            (_, Method::Put | Method::Post) if uploads => Answer::Upload,
            (Some(id), Method::Get | Method::Head) => Answer::Reply(*id),
            (Some(_), _) => Answer::Reply(Fixed::OnlyGet.into()),
            (None, _) if uploads => Answer::Reply(Fixed::OnlyPut.into()),
            (None, Method::Other) => Answer::Reply(Fixed::OnlyGet.into()),
            (None, _) => Answer::Reply(Fixed::NotFound.into()),
        }
    }

    /// A reply.
    #[inline]
    pub fn reply(&mut self, id: ReplyId) -> Option<&mut Reply> {
        self.replies.get_mut(id.0 as usize)
    }

    /// True for the path where something can be left, and for all below it.
    #[inline]
    fn is_upload(&self, path: &[u8]) -> bool {
        let Some(upload) = &self.upload else { return false };
        let Some(rest) = path.strip_prefix(&upload[..]) else { return false };
        rest.is_empty() || rest.starts_with(b"/") || upload.ends_with(b"/")
    }
}

/// The file that stands for its folder.
const INDEX: &str = "index.html";

/// Undoes percent-encoding (RFC 3986 section 2.1); `None`: it is wrong.
fn decode<'a>(path: &[u8], room: &'a mut [u8; MAX_TARGET]) -> Option<&'a [u8]> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).map(|digit| digit as u8);
    let (mut from, mut len) = (0, 0);
    while let Some(&byte) = path.get(from) {
        let plain = if byte == b'%' {
            let plain = digit(path.get(from + 1))? << 4 | digit(path.get(from + 2))?;
            from += 3;
            plain
        } else {
            from += 1;
            byte
        };
        *room.get_mut(len)? = plain;
        len += 1;
    }
    Some(&room[..len])
}

/// A hash for keys that our own configuration chose: nobody else can put any into the table, so it needs to be fast,
/// not secret.
#[derive(Debug, Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(chunk.try_into().map_or(0, u64::from_le_bytes));
        }
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.write_u64(u64::from_le_bytes(last));
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15_u128;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::http::request::Framing;
    use crate::config::model::SizedResponse;

    fn site() -> Site {
        let config = HttpService {
            responses: vec![SizedResponse { path: "/1k".into(), bytes: 1024 }],
            upload: Some("/upload".into()),
            ..HttpService::default()
        };
        let file = |path: &str| File { path: path.into(), bytes: b"x".to_vec().into(), kind: "text/html" };
        Site::new(&config, &[file("/a b.html"), file("/docs/index.html"), file("/myindex.html")])
    }

    fn ask(method: Method, path: &str) -> Answer {
        let path = path.as_bytes();
        let request = Request {
            method,
            path,
            is_1_1: true,
            persists: true,
            framing: Framing::None,
            expects_continue: false,
        };
        site().answer(&request)
    }

    #[test]
    fn every_fixed_reply_has_its_place() {
        for (place, fixed) in Fixed::ALL.into_iter().enumerate() {
            assert_eq!(ReplyId::from(fixed), ReplyId(place as u32));
        }
    }

    #[test]
    fn a_path_is_found_as_it_is_and_percent_encoded_and_in_no_other_way() {
        let found = |path: &str| !matches!(ask(Method::Get, path), Answer::Reply(ReplyId(id)) if id < 14);
        for good in ["/", "/1k", "/%31%6B", "/a%20b.html", "/docs/", "/docs/index.html", "/myindex.html"] {
            assert!(found(good), "{good}");
        }
        for bad in
            ["/1", "/1kk", "/docs", "/my", "/docs/../1k", "//1k", "/docs/%2e%2e/1k", "/../../etc/passwd", ""]
        {
            assert_eq!(ask(Method::Get, bad), Answer::Reply(Fixed::NotFound.into()), "{bad}");
        }
        for wrong in ["/%", "/%3", "/%zz"] {
            assert_eq!(ask(Method::Get, wrong), Answer::Reply(Fixed::Malformed.into()), "{wrong}");
        }
    }

    #[test]
    fn a_method_that_a_path_does_not_have_is_answered_with_those_it_has() {
        assert_eq!(ask(Method::Put, "/1k"), Answer::Reply(Fixed::OnlyGet.into()));
        assert_eq!(ask(Method::Other, "/1k"), Answer::Reply(Fixed::OnlyGet.into()));
        assert_eq!(ask(Method::Get, "/upload/x"), Answer::Reply(Fixed::OnlyPut.into()));
        assert_eq!(ask(Method::Put, "/nowhere"), Answer::Reply(Fixed::NotFound.into()));
    }

    #[test]
    fn uploads_go_to_the_path_for_them_and_below() {
        for good in ["/upload", "/upload/", "/upload/a/b"] {
            assert_eq!((ask(Method::Put, good), ask(Method::Post, good)), (Answer::Upload, Answer::Upload));
        }
        assert_eq!(ask(Method::Put, "/uploads"), Answer::Reply(Fixed::NotFound.into()));
    }
}
