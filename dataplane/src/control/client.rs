//! The client's end of the control socket: ask, wait, understand.

use super::protocol::{
    ANSWER_TIME, Answer, MAX_ANSWER, MAX_REQUEST, REPORT_TIME, REQUEST_TIME, Refusal, Request, RouteQuery,
    Show,
};
use super::snapshot::Routes;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No service.
    #[error("no flumen runs here: there is no control socket {}", .0.display())]
    NoSocket(PathBuf),
    /// A service that died.
    #[error("no flumen runs here: nobody listens at the control socket {}; the service that made it is dead", .0.display())]
    Dead(PathBuf),
    /// The permissions of the socket.
    #[error("you may not use the control socket {}", .0.display())]
    Forbidden(PathBuf),
    /// The request is too long to be sent.
    #[error("the request has {0} bytes, and {MAX_REQUEST} are the most")]
    TooLong(usize),
    /// The service does not answer.
    #[error("the service at {} does not answer in time", .0.display())]
    Silent(PathBuf),
    /// The service said nothing, or something else than was asked.
    #[error("the service at {} gave an answer that cannot be understood: {what}", .path.display())]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system.
    #[error("cannot talk to the service at {}: {error}", .path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The service refused.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

impl ClientError {
    /// What a person can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            ClientError::NoSocket(_) | ClientError::Dead(_) => Some(
                "start it with `flumen run CONFIG`, or say where its socket is with `--socket PATH` or \
                 `--config FILE`"
                    .to_owned(),
            ),
            ClientError::Forbidden(path) => Some(format!(
                "run the command as root, or as a user whom the socket's group and mode let in: `ls -l {}`",
                path.display()
            )),
            ClientError::Silent(_) => {
                Some("look at the service's log; `flumen show status` asks again".to_owned())
            }
            ClientError::Garbled { .. } => {
                Some("are the command and the service of the same version? `flumen version`".to_owned())
            }
            ClientError::TooLong(_) | ClientError::System { .. } => None,
            ClientError::Refused(refusal) => refusal.help.clone(),
        }
    }
}

/// Asks the service at `path`. A refusal is an error.
pub fn ask(path: &Path, request: &Request) -> Result<Answer, ClientError> {
    let garbled = |what: String| ClientError::Garbled { path: path.to_owned(), what };
    let mut line = serde_json::to_vec(request).map_err(|error| garbled(error.to_string()))?;
    line.push(b'\n');
    if line.len() > MAX_REQUEST {
        return Err(ClientError::TooLong(line.len()));
    }
    let answer = exchange(path, &line).map_err(|error| match error.kind() {
        ErrorKind::NotFound => ClientError::NoSocket(path.to_owned()),
        ErrorKind::ConnectionRefused => ClientError::Dead(path.to_owned()),
        ErrorKind::PermissionDenied => ClientError::Forbidden(path.to_owned()),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::Silent(path.to_owned()),
        _ => ClientError::System { path: path.to_owned(), error },
    })?;
    if answer.is_empty() {
        return Err(garbled("it is empty".to_owned()));
    }
    if answer.len() >= MAX_ANSWER {
        return Err(garbled(format!("it is longer than {MAX_ANSWER} bytes")));
    }
    match serde_json::from_slice(&answer).map_err(|error| garbled(error.to_string()))? {
        Answer::Error(refusal) => Err(ClientError::Refused(refusal)),
        answer => Ok(answer),
    }
}

fn exchange(path: &Path, line: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(REQUEST_TIME))?;
    stream.set_read_timeout(Some(REPORT_TIME + ANSWER_TIME))?;
    // A service that refuses the connection says so and closes: then writing fails and reading does not.
    let sent = stream.write_all(line);
    let mut answer = Vec::new();
    match stream.take(MAX_ANSWER as u64).read_to_end(&mut answer) {
        // Closed before it had read all that was sent: what it said counts.
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !answer.is_empty() => Ok(answer),
        Err(error) => Err(error),
        Ok(_) if answer.is_empty() => sent.map(|()| answer),
        Ok(_) => Ok(answer),
    }
}

/// Asks for pages of routes, one after the other, until `limit` routes were seen or there are no more. `page` is
/// given each of them and says whether to go on.
pub fn routes(
    path: &Path,
    mut query: RouteQuery,
    limit: Option<usize>,
    mut page: impl FnMut(Routes) -> bool,
) -> Result<(), ClientError> {
    let mut left = limit.unwrap_or(usize::MAX);
    loop {
        query.limit = Some(left.min(super::protocol::MAX_PAGE));
        let mut routes = match ask(path, &Request::Show(Show::Route(query.clone())))? {
            Answer::Routes(routes) => routes,
            _ => {
                let what = "it is not about routes".to_owned();
                return Err(ClientError::Garbled { path: path.to_owned(), what });
            }
        };
        // A service that does not get on would have us ask for ever.
        if routes.next.is_some() && routes.next == query.after {
            let what = "it goes round in circles".to_owned();
            return Err(ClientError::Garbled { path: path.to_owned(), what });
        }
        routes.routes.truncate(left);
        left -= routes.routes.len();
        query.after = routes.next;
        let is_last = routes.next.is_none() || left == 0;
        if !page(routes) || is_last {
            return Ok(());
        }
    }
}
