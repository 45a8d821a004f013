//! The form every file at a destination has: a head to read without a key, a body, and a digest over both.
//!
//! `SIXFBK02`, the length of the head (4 bytes, big-endian), the head as JSON, the body, and the SHA-256 of all
//! that. The body is compressed (LZ4 frames) and then, with recipients, encrypted (age). A changed bit, also one of
//! the head or the digest, fails the digest; a file under another's name does not agree with its head.

use std::io::{self, Read, Write};

use age::{Decryptor, Encryptor};
use aws_lc_rs::digest::{Context, SHA256};
use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use serde::{Deserialize, Serialize};

use super::wal::Place;
use crate::backup::keys::Keys;
use crate::backup::name::Name;

/// What every file begins with, before the digit that is its format.
const MAGIC: &[u8; 7] = b"SIXFBK0";

/// The format that is written; all up to it are read.
pub(crate) const FORMAT: u8 = 2;

/// The digest's length.
pub(crate) const DIGEST_BYTES: usize = 32;

/// The longest head; ours have some 400 bytes.
const HEAD_LIMIT: usize = 64 << 10;

/// A SHA-256 digest in hexadecimal.
pub(crate) type Digest = String;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// It is shorter than any file of ours, or begins otherwise.
    #[error("it is cut short or not one of ours")]
    Foreign,
    /// A bit changed, or its end is missing.
    #[error("its content does not have its digest")]
    Digest,
    /// The head cannot be read though the digest holds: another version wrote it.
    #[error("its head cannot be read: {0}")]
    Head(String),
    /// It is a good file under another file's name.
    #[error("it is {found} under another name")]
    Misnamed {
        /// What its head says it is.
        found: String,
    },
    /// It is encrypted, and no identity opens it.
    #[error("it cannot be decrypted: {0}")]
    Sealed(String),
    /// The body does not hold what the head promises.
    #[error("its body cannot be read: {0}")]
    Body(String),
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The file's own name.
    pub(crate) name: String,
    /// The size of a database page.
    pub(crate) page_bytes: u32,
    /// The database's pages after the last commit.
    pub(crate) pages: u32,
    /// Where the log stood after the last commit; what a process that starts anew goes on from.
    pub(crate) place: Place,
    /// The digest of what comes before the first commit in the chain.
    pub(crate) before: Digest,
    /// The digest the next segment names as what comes before it, when that is not this file's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Digest>,
    /// Whether the body is encrypted with age.
    pub(crate) encrypted: bool,
    /// The format, which the file's first bytes tell.
    #[serde(skip)]
    pub(crate) format: u8,
    /// The version of the program that wrote it.
    pub(crate) writer: String,
}

/// Writes a file: the head, what `write_body` writes, the digest; gives the digest.
pub(crate) fn write<W: Write>(
    target: W,
    head: &Head,
    keys: &Keys,
    write_body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<(W, Digest)> {
    let mut target = Hashing { inner: target, context: Context::new(&SHA256) };
    let head = serde_json::to_vec(head).map_err(io::Error::other)?;
    target.write_all(MAGIC)?;
    target.write_all(&[b'0' + FORMAT])?;
    target.write_all(&u32::try_from(head.len()).map_err(io::Error::other)?.to_be_bytes())?;
    target.write_all(&head)?;
    if keys.recipients.is_empty() {
        let mut body = FrameEncoder::new(&mut target);
        write_body(&mut body)?;
        body.finish().map_err(io::Error::other)?;
    } else {
        let recipients = keys.recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let sealed = Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
        let mut body = FrameEncoder::new(sealed.wrap_output(&mut target)?);
        write_body(&mut body)?;
        body.finish().map_err(io::Error::other)?.finish()?;
    }
    let Hashing { mut inner, context } = target;
    let digest = context.finish();
    inner.write_all(digest.as_ref())?;
    Ok((inner, hex(digest.as_ref())))
}

/// Reads and checks a whole file; gives its head, its digest and where its body lies.
pub(crate) fn check<'a>(bytes: &'a [u8], name: &Name) -> Result<(Head, Digest, &'a [u8]), Fault> {
    let end = bytes.len().checked_sub(DIGEST_BYTES).ok_or(Fault::Foreign)?;
    let (content, stated) = bytes.split_at(end);
    let mut context = Context::new(&SHA256);
    context.update(content);
    let digest = hex(context.finish().as_ref());
    if digest != hex(stated) {
        return Err(if content.starts_with(MAGIC) { Fault::Digest } else { Fault::Foreign });
    }
    let (head, body_at) = read_head(content)?;
    check_name(&head, name)?;
    Ok((head, digest, &content[body_at..]))
}

/// Gives the digest of what a reader gives.
pub(crate) fn digest_of(mut source: impl Read) -> io::Result<Digest> {
    let (mut context, mut chunk) = (Context::new(&SHA256), vec![0; 64 << 10]);
    loop {
        match source.read(&mut chunk)? {
            0 => return Ok(hex(context.finish().as_ref())),
            read => context.update(&chunk[..read]),
        }
    }
}

/// Fails when a head is another file's.
pub(crate) fn check_name(head: &Head, name: &Name) -> Result<(), Fault> {
    match head.name == name.to_string() {
        true => Ok(()),
        false => Err(Fault::Misnamed { found: head.name.clone() }),
    }
}

/// Reads the head at the beginning of a file; gives it and where the body begins.
pub(crate) fn read_head(mut content: impl Read) -> Result<(Head, usize), Fault> {
    let mut start = [0; MAGIC.len() + 5];
    content.read_exact(&mut start).map_err(|_| Fault::Foreign)?;
    let [magic @ .., format, a, b, c, d] = start;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if magic != *MAGIC || length > HEAD_LIMIT {
        return Err(Fault::Foreign);
    }
    let format = format.wrapping_sub(b'0');
    if !(1..=FORMAT).contains(&format) {
        return Err(Fault::Head(format!("its format is {format}, this program reads up to {FORMAT}")));
    }
    let mut head = vec![0; length];
    content.read_exact(&mut head).map_err(|_| Fault::Foreign)?;
    let head: Head = serde_json::from_slice(&head).map_err(|error| Fault::Head(error.to_string()))?;
    Ok((Head { format, ..head }, start.len() + length))
}

/// Opens the body of a file whose digest was checked.
pub(crate) fn open_body<'a>(
    head: &Head,
    body: impl Read + 'a,
    keys: &Keys,
) -> Result<Box<dyn Read + 'a>, Fault> {
    if !head.encrypted {
        return Ok(Box::new(FrameDecoder::new(body)));
    }
    if keys.identities.is_empty() {
        return Err(Fault::Sealed("no identity is configured (database.backup.identity)".into()));
    }
    let identities = keys.identities.iter().map(|identity| identity as &dyn age::Identity);
    let opened = Decryptor::new(body).and_then(|sealed| sealed.decrypt(identities));
    Ok(Box::new(FrameDecoder::new(opened.map_err(|error| Fault::Sealed(error.to_string()))?)))
}

/// Writes bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> Digest {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Hashing<W> {
    inner: W,
    context: Context,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.context.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
