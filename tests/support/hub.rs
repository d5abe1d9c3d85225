//! A hub that is a thread on this machine: one file, whole or with a broken first answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Serves one file under every path until the test ends.
pub struct Hub {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    bytes: Vec<u8>,
    n_connections: AtomicUsize,
    /// Where each download began.
    ranges: Mutex<Vec<usize>>,
    /// The lines of each request, in lower case.
    heads: Mutex<Vec<Vec<String>>>,
    /// What happens to the first download.
    mishap: Mutex<Option<Mishap>>,
    /// Connections that stay open without a further byte.
    stalled: Mutex<Vec<TcpStream>>,
}

enum Mishap {
    Break { after_bytes: usize },
    Stall { after_bytes: usize },
}

impl Hub {
    pub fn serving(bytes: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            bytes,
            n_connections: AtomicUsize::new(0),
            ranges: Mutex::default(),
            heads: Mutex::default(),
            mishap: Mutex::default(),
            stalled: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serving.n_connections.fetch_add(1, Ordering::SeqCst);
                // A client that goes away is none of the hub's business.
                let _ = serving.answer(stream);
            }
        });
        Self { address, shared }
    }

    /// The first download loses its connection.
    pub fn breaking_after(self, after_bytes: usize) -> Self {
        *self.shared.mishap.lock().unwrap() = Some(Mishap::Break { after_bytes });
        self
    }

    /// The first download gets no more bytes, and no end.
    pub fn stalling_after(self, after_bytes: usize) -> Self {
        *self.shared.mishap.lock().unwrap() = Some(Mishap::Stall { after_bytes });
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The lines of each request, in lower case.
    pub fn heads(&self) -> Vec<Vec<String>> {
        self.shared.heads.lock().unwrap().clone()
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn ranges(&self) -> Vec<usize> {
        self.shared.ranges.lock().unwrap().clone()
    }

    pub fn n_connections(&self) -> usize {
        self.shared.n_connections.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let head = read_head(&stream)?;
        let range = range_of(&head);
        self.heads.lock().unwrap().push(head);
        let total = self.bytes.len();
        let (start, end) = range.unwrap_or((0, total));
        let end = end.min(total);
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nconnection: close\r\nx-repo-commit: abc\r\netag: \"toy-etag\"\r\n\
             content-length: {}\r\ncontent-range: bytes {start}-{}/{total}\r\n\r\n",
            end - start,
            end - 1,
        )?;
        let body = &self.bytes[start..end];
        if body.len() <= 1 {
            return stream.write_all(body);
        }
        self.ranges.lock().unwrap().push(start);
        match self.mishap.lock().unwrap().take() {
            None => stream.write_all(body),
            Some(Mishap::Break { after_bytes }) => stream.write_all(&body[..after_bytes]),
            Some(Mishap::Stall { after_bytes }) => {
                stream.write_all(&body[..after_bytes])?;
                self.stalled.lock().unwrap().push(stream);
                Ok(())
            }
        }
    }
}

/// The lines of a request before its empty one, in lower case.
pub fn read_head(stream: impl Read) -> std::io::Result<Vec<String>> {
    let lines = BufReader::with_capacity(1, stream).lines();
    let is_content = |line: &std::io::Result<String>| !line.as_ref().is_ok_and(String::is_empty);
    lines.take_while(is_content).map(|line| Ok(line?.to_ascii_lowercase())).collect()
}

/// Start and end of the bytes that a request asks for.
fn range_of(head: &[String]) -> Option<(usize, usize)> {
    let range = head.iter().find_map(|line| line.strip_prefix("range: bytes="))?;
    let (start, last) = range.split_once('-')?;
    let end = last.parse().map_or(usize::MAX, |last: usize| last + 1);
    Some((start.parse().unwrap(), end))
}
