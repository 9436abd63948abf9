//! Cookies as their server makes them: the keys of a session, sealed with a key that only servers know, so that no
//! server keeps anything of a session.
//!
//! ```text
//! key's id (4) · nonce (16) · sealed: tag (16) · both keys
//! ```
//!
//! No two ciphers have keys of one length, so that the length says which one it is.
//!
//! Sealed is with AES-SIV-CMAC-256, whose nonces may be random: two that are alike tell whether two cookies are of one
//! session, and nothing else. The id and the nonce are what is authenticated beside.
//!
//! Keys are changed now and then, so that what was recorded cannot be opened later with a key that is lost. The newest
//! ones that a [`KeyRing`] has may be other servers' already; one seals, and older ones still open.

use std::fmt;

use zeroize::Zeroizing;

use super::aead::{Keys, NONCE_MAX, TAG};
use super::siv::Siv;
use super::{Algorithm, KEY_MAX};

/// Bytes of a key that seals cookies.
pub(crate) const SECRET_LEN: usize = 32;

/// Keys that a ring holds at most.
pub(crate) const SECRETS_MAX: usize = 8;

const ID_LEN: usize = 4;

/// Where in a cookie what is sealed begins.
const SEALED_AT: usize = ID_LEN + NONCE_MAX;

/// What a cookie is longer by than both keys of its session.
const OVERHEAD: usize = SEALED_AT + TAG;

/// One key that seals cookies.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) id: u32,
    pub(crate) key: Zeroizing<[u8; SECRET_LEN]>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.id)
    }
}

/// Keys that open cookies, newest first, of which one seals them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRing {
    secrets: Vec<Secret>,
    /// The place of the one that seals.
    seals: usize,
}

impl KeyRing {
    /// What servers share: the first of several is the next, which another server may seal with already; the second
    /// seals. A lone one does. `None` without any, with too many, or if two have one id.
    pub(crate) fn shared(secrets: Vec<Secret>) -> Option<Self> {
        let before = |at| secrets.iter().take(at);
        let unique = (secrets.iter().enumerate()).all(|(at, one)| before(at).all(|other| other.id != one.id));
        let seals = usize::from(secrets.len() > 1);
        (unique && (1..=SECRETS_MAX).contains(&secrets.len())).then_some(Self { secrets, seals })
    }

    /// One server's own, which begins with this one.
    pub(crate) fn own(secret: Secret) -> Self {
        Self { secrets: vec![secret], seals: 0 }
    }

    /// From now on `secret` seals; of what sealed before, the last `kept` still open.
    pub(crate) fn rotated(&self, secret: Secret, kept: usize) -> Self {
        let former = self.secrets.iter().skip(self.seals).filter(|former| former.id != secret.id).take(kept).cloned();
        Self { secrets: std::iter::once(secret.clone()).chain(former).collect(), seals: 0 }
    }
}

/// A ring with all that can be worked out beforehand: a thread's own.
pub(crate) struct Sealer {
    ciphers: Vec<(u32, Siv)>,
    seals: usize,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} keys)", self.ciphers.len())
    }
}

impl Sealer {
    pub(crate) fn new(ring: &KeyRing) -> Self {
        // A secret has the length that the cipher takes.
        let cipher = |secret: &Secret| Some((secret.id, Siv::new(&*secret.key)?));
        Self { ciphers: ring.secrets.iter().filter_map(cipher).collect(), seals: ring.seals }
    }

    /// How long the cookies of such a session are.
    pub(crate) fn cookie_length(algorithm: Algorithm) -> usize {
        OVERHEAD + 2 * algorithm.key_length()
    }

    /// Writes a cookie of `keys`, a server's, into `place`, which is as long as that takes. `None` only if a bug of
    /// ours has made it another length.
    pub(crate) fn seal(&self, keys: &Keys, nonce: &[u8; NONCE_MAX], place: &mut [u8]) -> Option<()> {
        let (id, cipher) = self.ciphers.get(self.seals)?;
        if place.len() != Self::cookie_length(keys.algorithm()) {
            return None;
        }
        let (beside, sealed) = place.split_at_mut_checked(SEALED_AT)?;
        let (number, random) = beside.split_first_chunk_mut()?;
        *number = id.to_be_bytes();
        *random.first_chunk_mut()? = *nonce;
        let (tag, text) = sealed.split_first_chunk_mut::<TAG>()?;
        let (s2c, c2s) = keys.raw();
        for (byte, key) in text.iter_mut().zip(c2s.iter().chain(s2c)) {
            *byte = *key;
        }
        *tag = cipher.seal([beside], text)?;
        Some(())
    }

    /// The keys in `cookie`, as their server has them; `None` if it is no cookie of ours, or too old.
    pub(crate) fn open(&self, cookie: &[u8]) -> Option<Keys> {
        let is_long_enough = |algorithm: &Algorithm| Self::cookie_length(*algorithm) == cookie.len();
        let algorithm = Algorithm::OFFERED.into_iter().find(is_long_enough)?;
        let (beside, sealed) = cookie.split_at_checked(SEALED_AT)?;
        let id = u32::from_be_bytes(*beside.first_chunk()?);
        let (_, cipher) = self.ciphers.iter().find(|(known, _)| *known == id)?;
        let (tag, sealed) = sealed.split_first_chunk::<TAG>()?;
        let mut space = Zeroizing::new([0; 2 * KEY_MAX]);
        let text = space.get_mut(..sealed.len())?;
        text.copy_from_slice(sealed);
        if !cipher.open([beside], tag, text) {
            return None;
        }
        let (c2s, s2c) = text.split_at_checked(algorithm.key_length())?;
        Keys::new(algorithm, c2s, s2c).map(Keys::mirrored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(id: u32) -> Secret {
        Secret { id, key: Zeroizing::new([id as u8; SECRET_LEN]) }
    }

    fn keys(algorithm: Algorithm) -> Keys {
        let length = algorithm.key_length();
        Keys::new(algorithm, &[1; KEY_MAX][..length], &[2; KEY_MAX][..length]).unwrap()
    }

    fn cookie(sealer: &Sealer, algorithm: Algorithm, nonce: u8) -> Vec<u8> {
        let mut cookie = vec![0; Sealer::cookie_length(algorithm)];
        sealer.seal(&keys(algorithm).mirrored(), &[nonce; NONCE_MAX], &mut cookie).unwrap();
        cookie
    }

    #[test]
    fn a_cookie_holds_the_keys_of_its_session_and_opens_only_whole() {
        let sealer = Sealer::new(&KeyRing::own(secret(7)));
        for algorithm in Algorithm::OFFERED {
            let cookie = cookie(&sealer, algorithm, 9);
            assert!(cookie.len().is_multiple_of(4) && super::super::Cookie::new(&cookie).is_some());
            let (opened, client) = (sealer.open(&cookie).unwrap(), keys(algorithm));
            assert_eq!((opened.algorithm(), opened.raw()), (algorithm, client.mirrored().raw()));
            for bit in 0..cookie.len() * 8 {
                let mut broken = cookie.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                assert!(sealer.open(&broken).is_none(), "{algorithm:?} {bit}");
            }
            for length in 0..cookie.len() {
                assert!(sealer.open(&cookie[..length]).is_none());
            }
            assert!(sealer.open(&[&cookie[..], &[0; 4]].concat()).is_none());
        }
    }

    #[test]
    fn two_cookies_of_one_session_have_nothing_in_common_but_their_key() {
        let sealer = Sealer::new(&KeyRing::own(secret(7)));
        let [one, other] = [1, 2].map(|nonce| cookie(&sealer, Algorithm::AesSivCmac256, nonce));
        assert_eq!(one[..ID_LEN], other[..ID_LEN]);
        let alike = one[SEALED_AT..].iter().zip(&other[SEALED_AT..]).filter(|(a, b)| a == b).count();
        assert!(alike < 8, "{alike}");
    }

    #[test]
    fn cookies_open_for_two_rotations_and_no_longer() {
        let mut ring = KeyRing::own(secret(1));
        let first = cookie(&Sealer::new(&ring), Algorithm::Aes128GcmSiv, 1);
        for (id, opens) in [(2, true), (3, true), (4, false), (5, false)] {
            ring = ring.rotated(secret(id), 2);
            assert_eq!(Sealer::new(&ring).open(&first).is_some(), opens, "{id}");
        }
    }

    #[test]
    fn of_shared_keys_the_first_is_the_next_and_the_second_seals() {
        assert_eq!(KeyRing::shared(vec![]), None);
        assert_eq!(KeyRing::shared(vec![secret(1), secret(1)]), None);
        assert_eq!(KeyRing::shared((0..9).map(secret).collect()), None);
        let ring = |ids: &[u32]| Sealer::new(&KeyRing::shared(ids.iter().copied().map(secret).collect()).unwrap());
        let (early, late) = (ring(&[3, 2, 1]), ring(&[4, 3, 2, 1]));
        let [from_early, from_late] = [&early, &late].map(|one| cookie(one, Algorithm::AesSivCmac256, 1));
        assert_eq!((from_early[3], from_late[3]), (2, 3));
        assert!(late.open(&from_early).is_some() && early.open(&from_late).is_some());
        assert_eq!(cookie(&ring(&[9]), Algorithm::AesSivCmac256, 1)[3], 9);
    }
}
