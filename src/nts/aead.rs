//! The ciphers that keys are negotiated for: nonce, associated data and plaintext to ciphertext, and back, in place.

use std::fmt;

use aes::Aes128Enc;
use aes_gcm_siv::aead::AeadInOut as _;
use aes_gcm_siv::{AesGcmSiv, KeyInit as _};
use zeroize::Zeroizing;

use super::{Algorithm, KEY_MAX, siv};

/// AES-128-GCM-SIV with a cipher that can encrypt only, which is all that it takes.
type Aes128GcmSiv = AesGcmSiv<Aes128Enc>;

/// Random bytes that a nonce is made of: the longest nonce any of the ciphers takes.
pub(crate) const NONCE_MAX: usize = 16;

/// The nonce of AES-GCM-SIV (RFC 8452).
const GCM_SIV_NONCE: usize = 12;

/// By so much what is sealed is longer, whatever the cipher.
pub(crate) const TAG: usize = 16;

/// A key and zeros behind it.
type Key = Zeroizing<[u8; KEY_MAX]>;

/// The keys of one session.
pub(crate) struct Keys {
    algorithm: Algorithm,
    /// What we seal with.
    ours: Key,
    /// What the other side seals with.
    theirs: Key,
}

impl Keys {
    /// A client's; `None` if a key has not the algorithm's length.
    pub(crate) fn new(algorithm: Algorithm, c2s: &[u8], s2c: &[u8]) -> Option<Self> {
        let key = |bytes: &[u8]| {
            let mut key = Key::new([0; KEY_MAX]);
            let fits = bytes.len() == algorithm.key_length();
            key.get_mut(..bytes.len()).filter(|_| fits)?.copy_from_slice(bytes);
            Some(key)
        };
        Some(Self { algorithm, ours: key(c2s)?, theirs: key(s2c)? })
    }

    /// The same session as its other side sees it.
    pub(crate) fn mirrored(self) -> Self {
        let Self { algorithm, ours, theirs } = self;
        Self { algorithm, ours: theirs, theirs: ours }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Our key and theirs: a client's in the order in which they are negotiated.
    pub(crate) fn raw(&self) -> (&[u8], &[u8]) {
        (self.of_its_length(&self.ours), self.of_its_length(&self.theirs))
    }

    /// A key without the zeros behind it.
    fn of_its_length<'a>(&self, key: &'a Key) -> &'a [u8] {
        // No cipher's is longer than there is room.
        key.get(..self.algorithm.key_length()).unwrap_or_default()
    }

    /// The nonce that is made of `random`.
    pub(crate) fn nonce<'a>(&self, random: &'a [u8; NONCE_MAX]) -> &'a [u8] {
        match self.algorithm {
            Algorithm::AesSivCmac256 | Algorithm::AesSivCmac512 => random,
            Algorithm::Aes128GcmSiv => random.first_chunk::<GCM_SIV_NONCE>().map_or(&[], |nonce| nonce),
        }
    }

    /// Where in the place of what is sealed the plaintext stands before: the tag comes before it or behind it.
    pub(crate) fn text_at(&self) -> usize {
        match self.algorithm {
            Algorithm::AesSivCmac256 | Algorithm::AesSivCmac512 => TAG,
            Algorithm::Aes128GcmSiv => 0,
        }
    }

    /// Seals what stands in `place` from [`Self::text_at`] on, which is [`TAG`] bytes shorter than `place`. `None` only
    /// if a bug of ours has made nonce or place wrong.
    pub(crate) fn seal_in_place(&self, nonce: &[u8], associated: &[u8], place: &mut [u8]) -> Option<()> {
        let key = self.of_its_length(&self.ours);
        match self.algorithm {
            // RFC 5297, section 3: the nonce is the last component of the associated data.
            Algorithm::AesSivCmac256 | Algorithm::AesSivCmac512 => {
                let (tag, text) = place.split_first_chunk_mut::<TAG>()?;
                *tag = siv::seal_with(key, [associated, nonce], text)?;
            }
            Algorithm::Aes128GcmSiv => {
                let (text, tag) = place.split_last_chunk_mut::<TAG>()?;
                let nonce: &[u8; GCM_SIV_NONCE] = nonce.try_into().ok()?;
                let cipher = Aes128GcmSiv::new_from_slice(key).ok()?;
                *tag = cipher.encrypt_inout_detached(&(*nonce).into(), associated, text.into()).ok()?.into();
            }
        }
        Some(())
    }

    /// Opens what the other side has sealed, in place: its plaintext. `None` if anything in it or in `associated` is
    /// not the other side's.
    pub(crate) fn open_in_place<'a>(
        &self,
        nonce: &[u8],
        associated: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let key = self.of_its_length(&self.theirs);
        match self.algorithm {
            Algorithm::AesSivCmac256 | Algorithm::AesSivCmac512 => {
                let (tag, text) = sealed.split_first_chunk_mut::<TAG>()?;
                siv::open_with(key, [associated, nonce], tag, text).then_some(text)
            }
            Algorithm::Aes128GcmSiv => {
                let (text, tag) = sealed.split_last_chunk_mut::<TAG>()?;
                let nonce: &[u8; GCM_SIV_NONCE] = nonce.try_into().ok()?;
                let cipher = Aes128GcmSiv::new_from_slice(key).ok()?;
                let tag = (*tag).into();
                cipher.decrypt_inout_detached(&(*nonce).into(), associated, (&mut *text).into(), &tag).ok()?;
                Some(text)
            }
        }
    }

    /// Seals `plaintext`: the nonce, a part of `random`, and the ciphertext. `None` only if a bug of ours has made the
    /// keys wrong.
    pub(crate) fn seal<'a>(
        &self,
        random: &'a [u8; NONCE_MAX],
        associated: &[u8],
        plaintext: &[u8],
    ) -> Option<(&'a [u8], Vec<u8>)> {
        let nonce = self.nonce(random);
        let mut place = vec![0; plaintext.len() + TAG];
        place.get_mut(self.text_at()..)?.get_mut(..plaintext.len())?.copy_from_slice(plaintext);
        self.seal_in_place(nonce, associated, &mut place)?;
        Some((nonce, place))
    }

    /// Decrypts what the other side has encrypted; `None` if anything in it or in `associated` is not the other side's.
    pub(crate) fn open(&self, nonce: &[u8], associated: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
        let mut place = ciphertext.to_vec();
        self.open_in_place(nonce, associated, &mut place).map(|text| text.to_vec())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?})", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn the_nonce_of_aes_siv_is_the_last_component() {
        // Appendix A.2 of RFC 5297 has two components before the nonce; what is said here is the order.
        let key = bytes("7f7e7d7c7b7a79787776757473727170 404142434445464748494a4b4c4d4e4f");
        let (associated, nonce) = (bytes("102030405060708090a0"), bytes("09f911029d74e35bd84156c5635688c0"));
        let keys = Keys::new(Algorithm::AesSivCmac256, &key, &[0; 32]).unwrap();
        let (_, ours) = keys.seal(nonce.as_slice().try_into().unwrap(), &associated, b"text").unwrap();
        let mut theirs = b"text".to_vec();
        let tag = siv::seal_with(&key, [&associated, &nonce], &mut theirs).unwrap();
        assert_eq!(ours, [&tag[..], &theirs].concat());
    }

    #[test]
    fn aes_gcm_siv_is_that_of_rfc_8452() {
        // Appendix C.1: the vector with one byte of associated data and eight of plaintext.
        let key = bytes("01000000000000000000000000000000");
        let nonce = bytes("030000000000000000000000 00000000");
        let keys = Keys::new(Algorithm::Aes128GcmSiv, &key, &[0; 16]).unwrap();
        let (_, sealed) = keys.seal(nonce.as_slice().try_into().unwrap(), &[1], &bytes("0200000000000000")).unwrap();
        assert_eq!(sealed, bytes("1e6daba35669f427 3b0a1a2560969cdf790d99759abd1508"));
    }

    fn keys(algorithm: Algorithm) -> Keys {
        Keys::new(algorithm, &[1; KEY_MAX][..algorithm.key_length()], &[2; KEY_MAX][..algorithm.key_length()]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_the_other_side_only_and_only_whole() {
        for algorithm in Algorithm::OFFERED {
            let (client, random) = (keys(algorithm), [9; NONCE_MAX]);
            let (nonce, sealed) = client.seal(&random, b"header", b"cookies").unwrap();
            let server = keys(algorithm).mirrored();
            assert_eq!(server.open(nonce, b"header", &sealed).as_deref(), Some(&b"cookies"[..]), "{algorithm:?}");
            // The keys of the two directions are not the same.
            assert_eq!(client.open(nonce, b"header", &sealed), None);
            assert_eq!(server.open(nonce, b"heAder", &sealed), None);
            assert_eq!(server.open(&nonce[1..], b"header", &sealed), None);
            for bit in 0..sealed.len() * 8 {
                let mut broken = sealed.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(server.open(nonce, b"header", &broken), None, "{algorithm:?} {bit}");
            }
            for length in 0..sealed.len() {
                assert_eq!(server.open(nonce, b"header", &sealed[..length]), None);
            }
        }
    }

    #[test]
    fn keys_of_another_length_are_no_keys() {
        for algorithm in Algorithm::OFFERED {
            let right = algorithm.key_length();
            for wrong in [0, right - 1, right + 1] {
                assert!(Keys::new(algorithm, &vec![0; right], &vec![0; wrong]).is_none());
                assert!(Keys::new(algorithm, &vec![0; wrong], &vec![0; right]).is_none());
            }
        }
    }
}
