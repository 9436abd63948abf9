//! A page in a file that the processes of one host map: all read it with the same code; one of them, who holds the lock, writes.
//!
//! The file is one header, which never changes, and the [`latch`](super::latch) with its words, as
//! `docs/shared-page.md` describes them for whoever looks from outside. It is written aside and gets its name when it is
//! whole. Everybody reads through a mapping that cannot be written; the leader's engine has another one beside it.

#![expect(unsafe_code, reason = "a mapped file is seen as the words it consists of")]

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::mem::offset_of;
use std::path::Path;
use std::ptr::NonNull;

use super::{Publication, SLOT};
use crate::sys::counter;
use crate::sys::file::{self, Distrust, Inode};
use crate::sys::host::{self, Identity};
use crate::sys::mapping::{Access, Mapping};
use crate::sys::ticks::{self, Sight};

const MAGIC: &[u8; 8] = b"NTPCPAGE";

/// Of the header and of everything that a slot's words mean: who knows another version reads and writes nothing.
const VERSION: u32 = 1;

/// A page of memory, of the smallest size there is.
pub(crate) const SIZE: usize = 4096;

/// Readers may be told to read the processor's own counter.
const BY_TICKS: u32 = 1;

/// Bytes of the header that its checksum is about.
const CHECKED: usize = offset_of!(Layout, checksum);

/// The file. Numbers of the header are little-endian, the words are the machine's own.
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    version: [u8; 4],
    size: [u8; 4],
    counter_kind: [u8; 4],
    flags: [u8; 4],
    origin: Identity,
    slot_words: [u8; 4],
    reserved: [u8; 16],
    checksum: [u8; 4],
    publication: Publication,
}

const _: () = assert!(size_of::<Layout>() <= SIZE && offset_of!(Layout, publication) == 64);

/// The mapped page of one file.
#[derive(Debug)]
pub(crate) struct SharedPage {
    publication: NonNull<Publication>,
    inode: Inode,
    by_ticks: bool,
    #[expect(dead_code, reason = "the memory is there as long as this is")]
    mapping: Mapping,
}

// SAFETY: it leads to atomic words only, which any thread may use.
unsafe impl Send for SharedPage {}

// SAFETY: the same.
unsafe impl Sync for SharedPage {}

/// Why a file is not used as a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Distrusted(Distrust),
    Foreign,
    Version(u32),
    Size(u64),
    Checksum,
    Kind(u32),
    Layout,
    /// It is of another boot, or of another container's time.
    Origin,
    /// This process may not read what the page is read by.
    Ticks,
    /// Not known, so pages of other boots could not be told.
    NoOrigin,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distrusted(distrust) => distrust.fmt(f),
            Self::Foreign => f.write_str("it is no shared page of ntpclock"),
            Self::Version(version) => write!(f, "its format is version {version}, known is {VERSION}"),
            Self::Size(size) => write!(f, "it has {size} bytes, not {SIZE}"),
            Self::Checksum => f.write_str("the checksum of its header is wrong"),
            Self::Kind(kind) => write!(f, "it is about a counter of kind {kind}, ours is {}", counter::KIND),
            Self::Layout => f.write_str("its words are laid out otherwise"),
            Self::Origin => f.write_str("it is of another boot, or of a container with a time of its own"),
            Self::Ticks => {
                f.write_str("it is read by the processor's counter, which this process may not read (PR_SET_TSC)")
            }
            Self::NoOrigin => f.write_str("the kernel does not say which boot this is (/proc is not to be had)"),
        }
    }
}

impl From<Distrust> for Refusal {
    fn from(distrust: Distrust) -> Self {
        Self::Distrusted(distrust)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Distrusted(error.into())
    }
}

impl SharedPage {
    /// Maps the page at `path`.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self, Refusal> {
        let mut options = File::options();
        options.read(true).write(access == Access::Write);
        let file = file::open_trusted(path, &mut options, host::effective_user())?;
        Self::of(&file, access)
    }

    /// Maps the page that `file` is.
    pub(crate) fn of(file: &File, access: Access) -> Result<Self, Refusal> {
        let about = file.metadata()?;
        let mut header = [0; CHECKED + 4];
        let length = about.len().min(header.len() as u64) as usize;
        // At its offset, whatever was read of the file before.
        std::os::unix::fs::FileExt::read_exact_at(file, &mut header[..length], 0)?;
        let by_ticks = judge(&header[..length], about.len(), host::origin(), ticks::is_readable())?;
        let mapping = Mapping::of(file, SIZE, access)?;
        let publication = mapping.start().cast::<Layout>();
        // SAFETY: the mapping is larger than the layout, and stays where it is.
        let publication = unsafe { &raw mut (*publication.as_ptr()).publication };
        let publication = NonNull::new(publication).ok_or(Refusal::Layout)?;
        Ok(Self { publication, inode: Inode::from(&about), by_ticks, mapping })
    }

    /// Puts a new page at `path`, on which nothing was published yet. Where there is a file already, it stays, unless it is to be
    /// `replaced`: its former readers keep it.
    pub(crate) fn create(path: &Path, replaced: bool) -> Result<(), Refusal> {
        let header = header(host::origin().ok_or(Refusal::NoOrigin)?, ticks::kernel_sight().is_some());
        let aside = file::aside(path)?;
        let write = || {
            let mut file = file::create_private(&aside)?;
            // Every byte, so that no block is missing when the memory is written.
            file.write_all(&header)?;
            io::copy(&mut io::repeat(0).take((SIZE - header.len()) as u64), &mut file)?;
            if replaced { fs::rename(&aside, path) } else { file::rename_to_new(&aside, path) }
        };
        write().map_err(|error| {
            // If it cannot be removed either, there is nothing more to be done.
            let _ = fs::remove_file(&aside);
            error.into()
        })
    }

    #[inline(always)]
    pub(crate) fn publication(&self) -> &Publication {
        // SAFETY: mapped as long as `self` is, aligned since a page is, and of atomic words: any bits are a publication.
        // Through a mapping that cannot be written, nobody writes: writers have one from `Access::Write`.
        unsafe { self.publication.as_ref() }
    }

    /// What a leader is to begin with: `None` where readers are not to read ticks.
    pub(crate) fn sight(&self) -> Option<Sight> {
        self.by_ticks.then(ticks::kernel_sight)?
    }

    /// Why the file at `path` is not, or not all of, the one that is mapped here.
    pub(crate) fn displaced(&self, path: &Path) -> Option<String> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some("it was removed".to_owned()),
            Err(error) => Some(format!("it cannot be looked at: {error}")),
            Ok(about) if Inode::from(&about) != self.inode => Some("another file was put in its place".to_owned()),
            Ok(about) if about.len() != SIZE as u64 => Some(Refusal::Size(about.len()).to_string()),
            Ok(_) => None,
        }
    }

    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

/// The header of a page of this boot.
fn header(origin: Identity, by_ticks: bool) -> [u8; CHECKED + 4] {
    let mut bytes = [0; CHECKED + 4];
    let flags = if by_ticks { BY_TICKS } else { 0 };
    let numbers = [VERSION, SIZE as u32, counter::KIND, flags].map(u32::to_le_bytes);
    let fields = MAGIC.iter().chain(numbers.iter().flatten()).chain(&origin);
    let slot_words = (SLOT as u32).to_le_bytes();
    bytes.iter_mut().zip(fields.chain(&slot_words)).for_each(|(byte, field)| *byte = *field);
    let checksum = crc32fast::hash(&bytes[..CHECKED]);
    bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Whether a file of `size` bytes that begins with `bytes` is a page for a process of this boot that may read ticks or not, and
/// whether it may be read by them.
fn judge(bytes: &[u8], size: u64, origin: Option<Identity>, ticks: bool) -> Result<bool, Refusal> {
    let number =
        |at: usize| bytes.get(at..at + 4).map_or(0, |four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    if !bytes.starts_with(MAGIC) {
        return Err(if size == 0 { Refusal::Size(0) } else { Refusal::Foreign });
    }
    let version = number(offset_of!(Layout, version));
    if version != VERSION {
        return Err(Refusal::Version(version));
    }
    if size != SIZE as u64 || number(offset_of!(Layout, size)) != SIZE as u32 {
        return Err(Refusal::Size(size));
    }
    if crc32fast::hash(&bytes[..CHECKED]) != number(CHECKED) {
        return Err(Refusal::Checksum);
    }
    let kind = number(offset_of!(Layout, counter_kind));
    if kind != counter::KIND {
        return Err(Refusal::Kind(kind));
    }
    if number(offset_of!(Layout, slot_words)) != SLOT as u32 {
        return Err(Refusal::Layout);
    }
    let at = offset_of!(Layout, origin);
    if origin.ok_or(Refusal::NoOrigin)? != bytes[at..at + size_of::<Identity>()] {
        return Err(Refusal::Origin);
    }
    let by_ticks = number(offset_of!(Layout, flags)) & BY_TICKS != 0;
    if by_ticks && !ticks { Err(Refusal::Ticks) } else { Ok(by_ticks) }
}
