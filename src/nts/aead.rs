//! The ciphers that keys are negotiated for: nonce, associated data and plaintext to ciphertext, and back.

use std::fmt;

use aes_gcm_siv::aead::{Aead as _, Payload};
use aes_gcm_siv::{Aes128GcmSiv, KeyInit as _};
use aes_siv::siv::{Aes128Siv, Aes256Siv};
use zeroize::Zeroizing;

use super::Algorithm;

/// Random bytes that a request's nonce is made of: the longest nonce any of the ciphers takes.
pub(crate) const NONCE_MAX: usize = 16;

/// The nonce of AES-GCM-SIV (RFC 8452).
const GCM_SIV_NONCE: usize = 12;

/// The keys of one session.
pub(crate) struct Keys {
    algorithm: Algorithm,
    /// Client to server.
    c2s: Zeroizing<Vec<u8>>,
    /// Server to client.
    s2c: Zeroizing<Vec<u8>>,
}

impl Keys {
    /// `None` if a key has not the algorithm's length.
    pub(crate) fn new(algorithm: Algorithm, c2s: Vec<u8>, s2c: Vec<u8>) -> Option<Self> {
        let (c2s, s2c) = (Zeroizing::new(c2s), Zeroizing::new(s2c));
        let fits = |key: &[u8]| key.len() == algorithm.key_length();
        (fits(&c2s) && fits(&s2c)).then_some(Self { algorithm, c2s, s2c })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Encrypts `plaintext` for the server: the nonce, a part of `random`, and the ciphertext. `None` only if a bug of
    /// ours has made the keys wrong.
    pub(crate) fn seal<'a>(
        &self,
        random: &'a [u8; NONCE_MAX],
        associated: &[u8],
        plaintext: &[u8],
    ) -> Option<(&'a [u8], Vec<u8>)> {
        let nonce = match self.algorithm {
            Algorithm::AesSivCmac256 | Algorithm::AesSivCmac512 => &random[..],
            Algorithm::Aes128GcmSiv => &random[..GCM_SIV_NONCE],
        };
        Some((nonce, encrypt(self.algorithm, &self.c2s, nonce, associated, plaintext)?))
    }

    /// Decrypts what the server has encrypted; `None` if anything in it or in `associated` is not the server's.
    pub(crate) fn open(&self, nonce: &[u8], associated: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
        decrypt(self.algorithm, &self.s2c, nonce, associated, ciphertext)
    }

    /// The same session as its server sees it.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn mirrored(&self) -> Self {
        Self { algorithm: self.algorithm, c2s: self.s2c.clone(), s2c: self.c2s.clone() }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?})", self.algorithm)
    }
}

fn encrypt(algorithm: Algorithm, key: &[u8], nonce: &[u8], associated: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
    match algorithm {
        // RFC 5297, section 3: the nonce is the last component of the associated data.
        Algorithm::AesSivCmac256 => Aes128Siv::new_from_slice(key).ok()?.encrypt([associated, nonce], plaintext).ok(),
        Algorithm::AesSivCmac512 => Aes256Siv::new_from_slice(key).ok()?.encrypt([associated, nonce], plaintext).ok(),
        Algorithm::Aes128GcmSiv => {
            let nonce = nonce.first_chunk::<GCM_SIV_NONCE>()?;
            let payload = Payload { msg: plaintext, aad: associated };
            Aes128GcmSiv::new_from_slice(key).ok()?.encrypt(&(*nonce).into(), payload).ok()
        }
    }
}

fn decrypt(algorithm: Algorithm, key: &[u8], nonce: &[u8], associated: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::AesSivCmac256 => Aes128Siv::new_from_slice(key).ok()?.decrypt([associated, nonce], ciphertext).ok(),
        Algorithm::AesSivCmac512 => Aes256Siv::new_from_slice(key).ok()?.decrypt([associated, nonce], ciphertext).ok(),
        Algorithm::Aes128GcmSiv => {
            let nonce: &[u8; GCM_SIV_NONCE] = nonce.try_into().ok()?;
            let payload = Payload { msg: ciphertext, aad: associated };
            Aes128GcmSiv::new_from_slice(key).ok()?.decrypt(&(*nonce).into(), payload).ok()
        }
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
    fn aes_siv_is_that_of_rfc_5297() {
        // Appendix A.1, which has no nonce: one component of associated data.
        let key = bytes("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
        let associated = bytes("101112131415161718191a1b1c1d1e1f2021222324252627");
        let plaintext = bytes("112233445566778899aabbccddee");
        let sealed = Aes128Siv::new_from_slice(&key).unwrap().encrypt([&associated], &plaintext).unwrap();
        assert_eq!(sealed, bytes("85632d07c6e8f37f950acd320a2ecc93 40c02b9690c4dc04daef7f6afe5c"));
    }

    #[test]
    fn the_nonce_of_aes_siv_is_the_last_component() {
        // Appendix A.2 has two components before the nonce; what is said here is the order.
        let key = bytes("7f7e7d7c7b7a79787776757473727170 404142434445464748494a4b4c4d4e4f");
        let (associated, nonce) = (bytes("102030405060708090a0"), bytes("09f911029d74e35bd84156c5635688c0"));
        let ours = encrypt(Algorithm::AesSivCmac256, &key, &nonce, &associated, b"text").unwrap();
        let theirs = Aes128Siv::new_from_slice(&key).unwrap().encrypt([&associated, &nonce], b"text").unwrap();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn aes_gcm_siv_is_that_of_rfc_8452() {
        // Appendix C.1: the vector with one byte of associated data and eight of plaintext.
        let key = bytes("01000000000000000000000000000000");
        let nonce = bytes("030000000000000000000000");
        let sealed = encrypt(Algorithm::Aes128GcmSiv, &key, &nonce, &[1], &bytes("0200000000000000")).unwrap();
        assert_eq!(sealed, bytes("1e6daba35669f427 3b0a1a2560969cdf790d99759abd1508"));
    }

    fn keys(algorithm: Algorithm) -> Keys {
        Keys::new(algorithm, vec![1; algorithm.key_length()], vec![2; algorithm.key_length()]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_the_other_side_only_and_only_whole() {
        for algorithm in Algorithm::OFFERED {
            let (client, random) = (keys(algorithm), [9; NONCE_MAX]);
            let (nonce, sealed) = client.seal(&random, b"header", b"cookies").unwrap();
            let server = client.mirrored();
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
                assert!(Keys::new(algorithm, vec![0; right], vec![0; wrong]).is_none());
                assert!(Keys::new(algorithm, vec![0; wrong], vec![0; right]).is_none());
            }
        }
    }
}
