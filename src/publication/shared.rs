//! A page in a file that the processes of one host map: all read it with the same code; one of them, who holds the
//! lock, writes.
//!
//! The file is one header, which never changes, and the [`latch`](super::latch) with its words, as
//! `docs/shared-page.md` describes them for whoever looks from outside. It is written aside and gets its name when it
//! is whole. Everybody reads through a mapping that cannot be written; the leader's engine has another one beside it.

#![expect(unsafe_code, reason = "a mapped file is seen as the words it consists of")]

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::mem::offset_of;
use std::path::Path;
use std::ptr::NonNull;

use super::{Publication, SLOT};
use crate::checksum;
use crate::sys::counter;
use crate::sys::file::{self, Distrust, Inode};
use crate::sys::host::{self, BOOT, Identity};
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
    /// It is of another boot.
    Boot,
    /// It is of another container's time, in this boot: somebody may well be using it.
    Namespace,
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
            Self::Boot => f.write_str("it is of another boot"),
            Self::Namespace => f.write_str("it is of another time namespace, whose clocks count from elsewhere"),
            Self::Ticks => {
                f.write_str("it is read by the processor's counter, which this process may not read (PR_SET_TSC)")
            }
            Self::NoOrigin => f.write_str(
                "the kernel does not say which boot this is (/proc/sys/kernel/random/boot_id cannot be read)",
            ),
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
    /// Maps the page at `path`; the file is open no longer than that.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self, Refusal> {
        let mut options = File::options();
        options.read(true).write(access == Access::Write);
        let file = file::open_trusted(path, &mut options, host::effective_user())?;
        let about = file.metadata()?;
        let mut header = [0; CHECKED + 4];
        let length = about.len().min(header.len() as u64) as usize;
        let header = header.get_mut(..length).unwrap_or_default();
        std::os::unix::fs::FileExt::read_exact_at(&file, header, 0)?;
        let by_ticks = judge(header, about.len(), host::origin(), ticks::is_readable())?;
        let mapping = Mapping::of(&file, SIZE, access)?;
        let publication = mapping.start().cast::<Layout>();
        // SAFETY: the mapping is larger than the layout, and stays where it is.
        let publication = unsafe { &raw mut (*publication.as_ptr()).publication };
        let publication = NonNull::new(publication).ok_or(Refusal::Layout)?;
        Ok(Self { publication, inode: Inode::from(&about), by_ticks, mapping })
    }

    /// Puts a new page at `path`, on which nothing was published yet. Where there is a file already, it stays, unless
    /// it is to be `replaced`: its former readers keep it.
    pub(crate) fn create(path: &Path, replaced: bool) -> Result<(), Refusal> {
        let header = header(host::origin().ok_or(Refusal::NoOrigin)?, ticks::kernel_sight().is_some());
        // Every byte, so that no block is missing when the memory is written.
        let mut bytes = header.to_vec();
        bytes.resize(SIZE, 0);
        let name = |aside: &Path, path: &Path| {
            if replaced { fs::rename(aside, path) } else { file::rename_to_new(aside, path) }
        };
        file::put(path, &bytes, name).map_err(|error| Distrust::from(error).in_writing().into())
    }

    #[inline(always)]
    pub(crate) fn publication(&self) -> &Publication {
        // SAFETY: mapped as long as `self` is, aligned since a page is, and of atomic words: any bits are a
        // publication. Through a mapping that cannot be written, nobody writes: writers have one from `Access::Write`.
        unsafe { self.publication.as_ref() }
    }

    /// What a leader is to begin with: `None` where readers are not to read ticks. If the page is `already` read by
    /// them, what it says of them is what counts, and not what the kernel lets this process know.
    pub(crate) fn sight(&self, already: bool) -> Option<Sight> {
        match (self.by_ticks, already) {
            (false, _) => None,
            (true, true) => ticks::sight(),
            (true, false) => ticks::kernel_sight(),
        }
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
        self.is(other.inode)
    }

    pub(crate) fn is(&self, inode: Inode) -> bool {
        self.inode == inode
    }
}

/// The header of a page of this boot.
pub(crate) fn header(origin: Identity, by_ticks: bool) -> [u8; CHECKED + 4] {
    let mut bytes = [0; CHECKED + 4];
    let flags = if by_ticks { BY_TICKS } else { 0 };
    let numbers = [VERSION, SIZE as u32, counter::KIND, flags].map(u32::to_le_bytes);
    let fields = MAGIC.iter().chain(numbers.iter().flatten()).chain(&origin);
    let slot_words = (SLOT as u32).to_le_bytes();
    bytes.iter_mut().zip(fields.chain(&slot_words)).for_each(|(byte, field)| *byte = *field);
    let checksum = checksum::of(&bytes[..CHECKED]);
    bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Whether a file of `size` bytes that begins with `bytes` is a page for a process of this boot that may read ticks or
/// not, and whether it may be read by them.
pub(crate) fn judge(bytes: &[u8], size: u64, origin: Option<Identity>, ticks: bool) -> Result<bool, Refusal> {
    let number = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u32::from_le_bytes);
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
    if checksum::of(bytes.get(..CHECKED).unwrap_or_default()) != number(CHECKED) {
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
    let origin = origin.ok_or(Refusal::NoOrigin)?;
    let found: &Identity = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Refusal::Layout)?;
    if origin != *found {
        let boot = |origin: &Identity| origin.first_chunk::<BOOT>().copied();
        return Err(if boot(&origin) == boot(found) { Refusal::Namespace } else { Refusal::Boot });
    }
    let by_ticks = number(offset_of!(Layout, flags)) & BY_TICKS != 0;
    if by_ticks && !ticks { Err(Refusal::Ticks) } else { Ok(by_ticks) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::note;
    use crate::publication::page::{Page, WORDS};
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::path::PathBuf;

    /// A change to a header, in words, what it is, and the refusal it must meet.
    type Case = (&'static str, fn(&mut Vec<u8>), Refusal);

    const ORIGIN: Identity = [7; 16];

    /// A path in the directory for scratch files that no other test uses; gone with it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("ntpclock-shared-{}-{name}", std::process::id())))
        }

        fn refusal(&self) -> Refusal {
            SharedPage::open(&self.0, Access::Read).unwrap_err()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn seal(bytes: &mut [u8]) {
        let checksum = checksum::of(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
    }

    #[test]
    fn a_header_that_cannot_be_trusted_is_refused_by_name() {
        let cases: [Case; 10] = [
            ("another file", |bytes| bytes[0] = b'#', Refusal::Foreign),
            ("a short text", |bytes| *bytes = b"hi".to_vec(), Refusal::Foreign),
            ("a newer format", |bytes| bytes[8] = 2, Refusal::Version(2)),
            ("another size", |bytes| bytes[13] = 1, Refusal::Size(4096)),
            ("a flipped bit", |bytes| bytes[30] ^= 1, Refusal::Checksum),
            ("another counter", |bytes| bytes[16] = 9, Refusal::Kind(9)),
            ("another boot", |bytes| bytes[24] = 9, Refusal::Boot),
            ("another boot and namespace", |bytes| (bytes[31], bytes[32]) = (9, 9), Refusal::Boot),
            ("another namespace", |bytes| bytes[32] = 9, Refusal::Namespace),
            ("other slots", |bytes| bytes[40] = 64, Refusal::Layout),
        ];
        for (what, change, refusal) in cases {
            let mut bytes = header(ORIGIN, false).to_vec();
            change(&mut bytes);
            if matches!(refusal, Refusal::Kind(_) | Refusal::Boot | Refusal::Namespace | Refusal::Layout) {
                seal(&mut bytes);
            }
            assert_eq!(judge(&bytes, 4096, Some(ORIGIN), true), Err(refusal), "{what}");
        }
        let good = header(ORIGIN, false);
        for size in [0_u64, 64, 4095, 4097, 8192] {
            let bytes = &good[..good.len().min(size as usize)];
            assert_eq!(judge(bytes, size, Some(ORIGIN), true), Err(Refusal::Size(size)));
        }
        assert_eq!(judge(&good, 4096, None, true), Err(Refusal::NoOrigin));
        assert_eq!(judge(&good, 4096, Some(ORIGIN), false), Ok(false));
        let by_ticks = header(ORIGIN, true);
        assert_eq!(judge(&by_ticks, 4096, Some(ORIGIN), true), Ok(true));
        assert_eq!(judge(&by_ticks, 4096, Some(ORIGIN), false), Err(Refusal::Ticks));
    }

    #[test]
    fn no_flipped_byte_of_a_header_is_survived_and_none_is_trusted() {
        for index in 0..CHECKED + 4 {
            for flip in [0x01, 0x80, 0xff, 0x5a] {
                let mut bytes = header(ORIGIN, true);
                bytes[index] ^= flip;
                assert!(judge(&bytes, 4096, Some(ORIGIN), true).is_err(), "byte {index} ^ {flip:#x}");
                // Even with a checksum that fits, nothing may break.
                seal(&mut bytes);
                let _ = judge(&bytes, 4096, Some(ORIGIN), true);
            }
        }
        for length in 0..CHECKED + 4 {
            assert!(judge(&header(ORIGIN, true)[..length], length as u64, Some(ORIGIN), true).is_err(), "{length}");
        }
    }

    #[test]
    fn what_is_no_page_of_ours_is_refused_and_stays_as_it_is() {
        let place = Place::new("refused");
        assert!(matches!(place.refusal(), Refusal::Distrusted(distrust) if distrust.is_absence()));
        fs::write(&place.0, "my diary").unwrap();
        assert_eq!(place.refusal(), Refusal::Foreign);
        // It is in the way of a new page, and is not lost.
        assert!(SharedPage::create(&place.0, false).is_err());
        assert_eq!(fs::read(&place.0).unwrap(), b"my diary");
        fs::remove_file(&place.0).unwrap();
        SharedPage::create(&place.0, false).unwrap();
        assert_eq!(fs::metadata(&place.0).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(SharedPage::open(&place.0, Access::Read).is_ok());
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&place.0, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(place.refusal(), Refusal::Distrusted(Distrust::Writable(_))), "{mode:o}");
        }
    }

    #[test]
    fn what_is_written_through_one_mapping_is_read_through_another_and_a_new_file_is_another_page() {
        let place = Place::new("mapped");
        SharedPage::create(&place.0, false).unwrap();
        let [reader, writer] = [Access::Read, Access::Write].map(|access| SharedPage::open(&place.0, access).unwrap());
        assert!(reader.is_same_file(&writer) && reader.publication().whole().unwrap().is_none());
        let page = Page::from_words(&[0; WORDS]);
        writer.publication().0.stage(&note::sealed(&page, &note::tests::told()));
        writer.publication().0.turn(page.tag());
        assert_eq!(reader.publication().whole().unwrap().unwrap().0, page);
        assert_eq!(reader.displaced(&place.0), None);
        // A word is written over by somebody else.
        let at = offset_of!(Layout, publication) + 64 + 8 * SLOT + 8;
        let file = File::options().write(true).open(&place.0).unwrap();
        file.write_all_at(&[0xff; 8], at as u64).unwrap();
        assert!(reader.publication().whole().is_err());
        SharedPage::create(&place.0, true).unwrap();
        assert_eq!(reader.displaced(&place.0).unwrap(), "another file was put in its place");
        assert!(SharedPage::open(&place.0, Access::Read).unwrap().publication().whole().unwrap().is_none());
        fs::remove_file(&place.0).unwrap();
        assert_eq!(reader.displaced(&place.0).unwrap(), "it was removed");
    }

    #[test]
    fn the_documented_offsets_are_those_of_the_code() {
        let text = include_str!("../../docs/shared-page.md");
        let told: Vec<(usize, usize, &str)> = text
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
                let (offset, size) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
                Some((offset, size, cells.next()?))
            })
            .collect();
        let slot = SLOT * 8;
        let publication = offset_of!(Layout, publication);
        let file = [
            (offset_of!(Layout, magic), 8, "magic"),
            (offset_of!(Layout, version), 4, "version"),
            (offset_of!(Layout, size), 4, "size"),
            (offset_of!(Layout, counter_kind), 4, "counter"),
            (offset_of!(Layout, flags), 4, "flags"),
            (offset_of!(Layout, origin), BOOT, "boot"),
            (offset_of!(Layout, origin) + BOOT, size_of::<Identity>() - BOOT, "namespace"),
            (offset_of!(Layout, slot_words), 4, "slot words"),
            (offset_of!(Layout, reserved), 16, "reserved"),
            (offset_of!(Layout, checksum), 4, "checksum"),
            (publication, 8, "turn"),
            (publication + 8, 56, "unused"),
            (publication + 64, slot, "slot 0"),
            (publication + 64 + slot, slot, "slot 1"),
            (size_of::<Layout>(), SIZE - size_of::<Layout>(), "unused"),
        ];
        assert_eq!(told[..file.len()], file);
        // In words, of a slot.
        let slot = note::places();
        assert_eq!(told[file.len()..], slot);
        assert!(text.contains(&format!("version {VERSION}")));
    }
}
