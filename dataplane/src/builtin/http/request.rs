//! The head of a request: from bytes to what it asks for, or to the reason why not.
//!
//! Read RFC 9112 (HTTP/1.1) sections 2, 3, 6 and 9, and RFC 9110 sections 9 and 10.1. The syntax is read by `httparse`,
//! in place; the meaning of the few fields that concern a server of files is read here. Where one request can be
//! read in two ways (two lengths, a length and chunks), it is refused: RFC 9112 section 11.2 tells what becomes of
//! those who guess.

use core::mem::MaybeUninit;

/// Header fields of a request. Browsers send about 20.
pub const MAX_FIELDS: usize = 64;

/// Bytes of a head, its empty line included. RFC 9110 section 4.1 asks for targets of 8000 bytes at least.
pub const MAX_HEAD: usize = 16 << 10;

/// Bytes of a target.
pub const MAX_TARGET: usize = 8192;

/// What is to be done with the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Send it.
    Get,
    /// Send its head.
    Head,
    /// Take the body.
    Put,
    /// Take the body, too.
    Post,
    /// One that HTTP knows and nothing here allows.
    Other,
}

/// How the body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The path of the target, as it was sent: begins with a slash, without the query. `*` for the server itself.
    pub path: &'a [u8],
    /// The client speaks HTTP/1.1, not 1.0.
    pub is_1_1: bool,
    /// The client wants to go on after this.
    pub persists: bool,
    /// The body.
    pub framing: Framing,
    /// The client waits for "100 Continue" before it sends the body.
    pub expects_continue: bool,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400: it is not HTTP, or can be read in two ways.
    Malformed,
    /// 414.
    TargetTooLong,
    /// 417: it expects what we do not know.
    Expectation,
    /// 431.
    HeadTooLong,
    /// 501: a method or a transfer coding that we do not know.
    Unknown,
    /// 505.
    Version,
}

/// What became of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The head goes on behind them.
    Partial,
    /// A request, and the length of its head.
    Whole(Request<'a>, usize),
    /// Not one that is answered as it wishes.
    Refused(Refusal),
}

/// Reads the head of a request.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let length = match head.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => return Parsed::Refused(too_long(bytes)),
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => return Parsed::Refused(Refusal::HeadTooLong),
        Err(httparse::Error::Version) => return Parsed::Refused(Refusal::Version),
        Err(_) => return Parsed::Refused(Refusal::Malformed),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Parsed::Refused(Refusal::Malformed);
    };
    if target.len() > MAX_TARGET || length > MAX_HEAD {
        return Parsed::Refused(too_long(&bytes[..length]));
    }
    match understand(method, target, version == 1, head.headers) {
        Ok(request) => Parsed::Whole(request, length),
        Err(refusal) => Parsed::Refused(refusal),
    }
}

/// Which of the two is too long: the target when its line is.
fn too_long(bytes: &[u8]) -> Refusal {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    if line > MAX_TARGET { Refusal::TargetTooLong } else { Refusal::HeadTooLong }
}

fn understand<'a>(
    method: &str,
    target: &'a str,
    is_1_1: bool,
    fields: &[httparse::Header<'a>],
) -> Result<Request<'a>, Refusal> {
    let mut hosts = 0;
    let mut length = None;
    let mut chunked = false;
    let mut says = Connection::default();
    let mut expects_continue = false;
    for field in fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            4 if is("host") => hosts += 1,
            6 if is("expect") => {
                if !field.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::Expectation);
                }
                expects_continue = true;
            }
            10 if is("connection") => says.read(field.value),
            14 if is("content-length") => {
                // RFC 9112 section 6.3: a second one, even of the same value, may be refused.
                if length.is_some() {
                    return Err(Refusal::Malformed);
                }
                length = Some(decimal(field.value).ok_or(Refusal::Malformed)?);
            }
            17 if is("transfer-encoding") => {
                if chunked {
                    return Err(Refusal::Malformed);
                }
                if !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Unknown);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    // RFC 9112 section 3.2: exactly one Host in HTTP/1.1.
    if hosts > 1 || (is_1_1 && hosts == 0) {
        return Err(Refusal::Malformed);
    }
    let framing = match (length, chunked) {
        (None, false) | (Some(0), false) => Framing::None,
        (Some(length), false) => Framing::Length(length),
        (None, true) if is_1_1 => Framing::Chunked,
        // RFC 9112 sections 6.1 and 6.3: both at once, or chunks in HTTP/1.0, is how requests are smuggled.
        (_, true) => return Err(Refusal::Malformed),
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "PUT" => Method::Put,
        "POST" => Method::Post,
        "DELETE" | "OPTIONS" | "PATCH" | "TRACE" | "CONNECT" => Method::Other,
        _ => return Err(Refusal::Unknown),
    };
    Ok(Request {
        method,
        path: path_of(target, method)?,
        is_1_1,
        persists: if is_1_1 { !says.close } else { says.keep_alive && !says.close },
        framing,
        // RFC 9110 section 10.1.1: ignored in HTTP/1.0, and pointless without a body.
        expects_continue: expects_continue && is_1_1 && framing != Framing::None,
    })
}

/// What the Connection field says.
#[derive(Debug, Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
}

impl Connection {
    fn read(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

/// Digits and nothing else (RFC 9110 section 8.6): no sign, no space, no list.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// The path of a target in origin form, or absolute form (RFC 9112 section 3.2).
fn path_of(target: &str, method: Method) -> Result<&[u8], Refusal> {
    let path = if target.starts_with('/') {
        target
    } else if method == Method::Other {
        return Ok(b"*"); // asterisk or authority form: nothing here has either
    } else {
        let (scheme, rest) = target.split_once("://").ok_or(Refusal::Malformed)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(Refusal::Malformed);
        }
        match rest.find(['/', '?', '#']) {
            Some(end) if rest.as_bytes()[end] == b'/' => &rest[end..],
            _ => "/",
        }
    };
    let end = path.bytes().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    Ok(&path.as_bytes()[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Request<'_> {
        match parse(text.as_bytes()) {
            Parsed::Whole(request, length) => {
                assert_eq!(length, text.len());
                request
            }
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    fn refused(text: &str) -> Refusal {
        match parse(text.as_bytes()) {
            Parsed::Refused(refusal) => refusal,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn a_plain_request_of_http_1_1_goes_on_and_one_of_1_0_does_not() {
        let request = whole("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!((request.method, request.path), (Method::Get, &b"/a"[..]));
        assert!(request.is_1_1 && request.persists && request.framing == Framing::None);
        let request = whole("HEAD / HTTP/1.0\r\n\r\n");
        assert!(request.method == Method::Head && !request.is_1_1 && !request.persists);
        assert!(whole("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").persists);
        assert!(!whole("GET / HTTP/1.1\r\nHost: x\r\nconnection: foo , CLOSE\r\n\r\n").persists);
    }

    #[test]
    fn targets_in_absolute_form_are_understood() {
        let path = |target: &str| {
            let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            match parse(text.as_bytes()) {
                Parsed::Whole(request, _) => String::from_utf8(request.path.to_vec()).unwrap(),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(path("http://x:80/a/b?c"), "/a/b");
        assert_eq!(path("HTTPS://x"), "/");
        assert_eq!(path("http://x?y/z"), "/");
        assert_eq!(path("/a#b"), "/a");
        for bad in ["*", "x:80", "ftp://x/"] {
            assert_eq!(path(bad), "Refused(Malformed)", "{bad}");
        }
        assert_eq!(whole("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").method, Method::Other);
    }

    #[test]
    fn bodies_are_delimited_in_one_way_only() {
        let framing = |fields: &str| {
            let text = format!("PUT /u HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
            match parse(text.as_bytes()) {
                Parsed::Whole(request, _) => Ok(request.framing),
                Parsed::Refused(refusal) => Err(refusal),
                Parsed::Partial => panic!("{text:?} is whole"),
            }
        };
        assert_eq!(framing("Content-Length: 1073741824\r\n"), Ok(Framing::Length(1 << 30)));
        assert_eq!(framing("Content-Length: 0\r\n"), Ok(Framing::None));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        for bad in [
            "Content-Length: +1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding : chunked\r\n",
        ] {
            assert_eq!(framing(bad), Err(Refusal::Malformed), "{bad:?}");
        }
        assert_eq!(framing("Transfer-Encoding: gzip, chunked\r\n"), Err(Refusal::Unknown));
        assert_eq!(refused("PUT /u HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Refusal::Malformed);
    }

    #[test]
    fn an_expectation_is_for_a_body_in_http_1_1() {
        let expects = |rest: &str| whole(&format!("PUT /u HTTP/1.{rest}\r\n\r\n")).expects_continue;
        assert!(expects("1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 1"));
        assert!(!expects("1\r\nHost: x\r\nExpect: 100-continue"));
        assert!(!expects("0\r\nExpect: 100-continue\r\nContent-Length: 1"));
        assert_eq!(refused("PUT /u HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\n\r\n"), Refusal::Expectation);
    }

    #[test]
    fn what_is_not_http_1_is_refused_with_the_reason() {
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), Refusal::Malformed, "no host");
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"), Refusal::Malformed);
        assert_eq!(refused("GET /\r\n\r\n"), Refusal::Malformed);
        assert_eq!(refused("\u{1}\u{2}\u{3}"), Refusal::Malformed);
        assert_eq!(refused("BREW / HTTP/1.1\r\nHost: x\r\n\r\n"), Refusal::Unknown);
        assert_eq!(refused("GET / HTTP/2.0\r\nHost: x\r\n\r\n"), Refusal::Version);
        assert_eq!(parse(b"GET / HT"), Parsed::Partial);
        assert_eq!(parse(b""), Parsed::Partial);
    }

    #[test]
    fn heads_targets_and_fields_have_their_limits() {
        let of_target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(len - 1));
        assert_eq!(whole(&of_target(MAX_TARGET)).path.len(), MAX_TARGET);
        assert_eq!(refused(&of_target(MAX_TARGET + 1)), Refusal::TargetTooLong);
        let of_fields =
            |count: usize| format!("GET / HTTP/1.1\r\n{}Host: x\r\n\r\n", "A: b\r\n".repeat(count - 1));
        whole(&of_fields(MAX_FIELDS));
        assert_eq!(refused(&of_fields(MAX_FIELDS + 1)), Refusal::HeadTooLong);
        let empty = "GET / HTTP/1.1\r\nHost: x\r\nA: \r\n\r\n".len();
        let of_head =
            |len: usize| format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(len - empty));
        whole(&of_head(MAX_HEAD));
        assert_eq!(refused(&of_head(MAX_HEAD + 1)), Refusal::HeadTooLong);
        let partial = |len: usize| parse(&of_head(MAX_HEAD + 9).as_bytes()[..len]) == Parsed::Partial;
        assert!(partial(MAX_HEAD - 1) && !partial(MAX_HEAD));
        assert_eq!(refused(&"G".repeat(MAX_HEAD)), Refusal::TargetTooLong);
    }
}
