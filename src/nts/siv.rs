//! AES-SIV-CMAC (RFC 5297): a nonce that comes twice tells that two messages are the same, and nothing else.
//!
//! ```text
//! V = S2V(K1, AD1, …, ADn, P)      D = CMAC(0¹²⁸), and for each AD: D = 2·D ⊕ CMAC(AD)
//!                                  then CMAC(P xorend D) if P has 16 bytes or more, else CMAC(2·D ⊕ (P ‖ 10…0))
//! C = P ⊕ CTR(K2, V with bits 31 and 63 clear)
//! ```
//!
//! A server opens two such messages and seals two for each reply, under keys that are new each time: so what CMAC derives
//! from its key (RFC 4493) is derived once, and not once for each component.

use aes::cipher::{
    Block, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16,
};
use zeroize::Zeroizing;

use super::aead::TAG;

/// Blocks of keystream that are made at a time: a processor works on some of them at once.
const AT_ONCE: usize = 8;

type Text = [u8; TAG];

/// What a cipher must be.
pub(crate) trait Cipher: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit {}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit> Cipher for C {}

/// A key, with all that is worked out of it.
pub(crate) struct Siv<C> {
    mac: Mac<C>,
    cipher: C,
}

impl<C: Cipher> Siv<C> {
    /// `None` unless `key` has twice the cipher's length.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let (mac, cipher) = key.split_at_checked(key.len() / 2)?;
        Some(Self { mac: Mac::new(C::new_from_slice(mac).ok()?), cipher: C::new_from_slice(cipher).ok()? })
    }

    /// Encrypts `text` in its place; the tag comes before it.
    pub(crate) fn seal<const N: usize>(&self, associated: [&[u8]; N], text: &mut [u8]) -> Text {
        let tag = self.mac.s2v(associated, text);
        self.apply(tag, text);
        tag
    }

    /// Decrypts `text` in its place; if anything is not as it was sealed, there is nothing left of it, and `false`.
    pub(crate) fn open<const N: usize>(&self, associated: [&[u8]; N], tag: &Text, text: &mut [u8]) -> bool {
        self.apply(*tag, text);
        let expected = self.mac.s2v(associated, text);
        // As long for every wrong one.
        let differs = std::hint::black_box(expected.iter().zip(tag).fold(0, |all, (one, other)| all | (one ^ other)));
        if differs != 0 {
            text.fill(0);
        }
        differs == 0
    }

    fn apply(&self, tag: Text, text: &mut [u8]) {
        let mut counter = u128::from_be_bytes(tag) & !(1 << 31 | 1 << 63);
        for part in text.chunks_mut(AT_ONCE * TAG) {
            let mut stream = Zeroizing::new([Text::default(); AT_ONCE]);
            let mut blocks = stream.map(Block::<C>::from);
            let count = part.len().div_ceil(TAG);
            for block in blocks.iter_mut().take(count) {
                *block = counter.to_be_bytes().into();
                counter = counter.wrapping_add(1);
            }
            if let Some(blocks) = blocks.get_mut(..count) {
                self.cipher.encrypt_blocks(blocks);
            }
            *stream = blocks.map(Text::from);
            for (byte, pad) in part.iter_mut().zip(stream.as_flattened()) {
                *byte ^= pad;
            }
        }
    }
}

/// CMAC (RFC 4493).
struct Mac<C> {
    cipher: C,
    /// For messages whose last block is whole, and for others.
    whole: u128,
    padded: u128,
}

/// Doubles in the field of 2^128 elements.
fn double(value: u128) -> u128 {
    value << 1 ^ if value >> 127 == 1 { 0x87 } else { 0 }
}

/// A block that is not whole, with a bit of one behind and then zeros; or a whole one.
fn padded(part: &[u8]) -> u128 {
    let mut bytes = Text::default();
    for (byte, text) in bytes.iter_mut().zip(part.iter().chain(&[0x80])) {
        *byte = *text;
    }
    u128::from_be_bytes(bytes)
}

impl<C: Cipher> Mac<C> {
    fn new(cipher: C) -> Self {
        let mut block = Block::<C>::default();
        cipher.encrypt_block(&mut block);
        let whole = double(u128::from_be_bytes(block.into()));
        Self { cipher, whole, padded: double(whole) }
    }

    /// The code of `head`, whole blocks, and `tail`, the rest: 31 bytes at most, and not none if there is a head.
    fn code(&self, head: &[Text], tail: &[u8]) -> u128 {
        let mut blocks = [0_u128; 2];
        for (block, part) in blocks.iter_mut().zip(tail.chunks(TAG)) {
            *block = padded(part);
        }
        let [mut first, mut second] = blocks;
        if tail.is_empty() {
            first = padded(tail);
        }
        let is_two = tail.len() > TAG;
        let last = if is_two { &mut second } else { &mut first };
        *last ^= if tail.len() == TAG * (1 + usize::from(is_two)) { self.whole } else { self.padded };
        let mut state = Text::default();
        let tail: &[u128] = if is_two { &[first, second] } else { &[first] };
        self.cipher.encrypt_with_backend(Chain { state: &mut state, head, tail });
        u128::from_be_bytes(state)
    }

    fn code_of(&self, message: &[u8]) -> u128 {
        // The last block, whole or not, is the tail.
        let (head, tail) = message.split_at(message.len().saturating_sub(1) / TAG * TAG);
        self.code(head.as_chunks().0, tail)
    }

    fn s2v<const N: usize>(&self, associated: [&[u8]; N], text: &[u8]) -> Text {
        let start = self.code_of(&Text::default());
        let sum = associated.into_iter().fold(start, |sum, part| double(sum) ^ self.code_of(part));
        let Some(at) = text.len().checked_sub(TAG) else {
            return self.code_of(&(double(sum) ^ padded(text)).to_be_bytes()).to_be_bytes();
        };
        // The end, on which the sum lies, and what shares its first block.
        let (head, rest) = text.split_at(at / TAG * TAG);
        let mut tail = Zeroizing::new([0; 2 * TAG]);
        let pads = std::iter::repeat_n(0, rest.len() - TAG).chain(sum.to_be_bytes());
        for ((byte, text), pad) in tail.iter_mut().zip(rest).zip(pads) {
            *byte = text ^ pad;
        }
        self.code(head.as_chunks().0, tail.get(..rest.len()).unwrap_or_default()).to_be_bytes()
    }
}

/// One block after the other through the cipher.
struct Chain<'a> {
    state: &'a mut Text,
    head: &'a [Text],
    tail: &'a [u128],
}

impl BlockSizeUser for Chain<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Chain<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut state = u128::from_be_bytes(*self.state);
        for next in self.head.iter().map(|block| u128::from_be_bytes(*block)).chain(self.tail.iter().copied()) {
            let mut block = Block::<Self>::from((state ^ next).to_be_bytes());
            backend.encrypt_block((&mut block).into());
            state = u128::from_be_bytes(block.into());
        }
        *self.state = state.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::{Aes128Enc, Aes256Enc};

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn it_is_that_of_rfc_5297() {
        // Appendix A.1.
        let siv =
            Siv::<Aes128Enc>::new(&bytes("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")).unwrap();
        let mut text = bytes("112233445566778899aabbccddee");
        let tag = siv.seal([&bytes("101112131415161718191a1b1c1d1e1f2021222324252627")], &mut text);
        assert_eq!(tag.to_vec(), bytes("85632d07c6e8f37f950acd320a2ecc93"));
        assert_eq!(text, bytes("40c02b9690c4dc04daef7f6afe5c"));
        // Appendix A.2, with two components and a nonce.
        let siv =
            Siv::<Aes128Enc>::new(&bytes("7f7e7d7c7b7a79787776757473727170 404142434445464748494a4b4c4d4e4f")).unwrap();
        let associated = [
            bytes("00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100"),
            bytes("102030405060708090a0"),
            bytes("09f911029d74e35bd84156c5635688c0"),
        ];
        let mut text = b"this is some plaintext to encrypt using SIV-AES".to_vec();
        let tag = siv.seal([&associated[0], &associated[1], &associated[2]], &mut text);
        assert_eq!(tag.to_vec(), bytes("7bdb6e3b432667eb06f4d14bff2fbd0f"));
        assert_eq!(
            text,
            bytes("cb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d")
        );
        assert!(siv.open([&associated[0], &associated[1], &associated[2]], &tag, &mut text));
        assert_eq!(text, b"this is some plaintext to encrypt using SIV-AES");
    }

    #[test]
    fn it_is_everybody_elses_at_every_length() {
        use aes_siv::KeyInit as _;
        let key: Vec<u8> = (0..64).map(|byte| byte * 3 + 1).collect();
        let message: Vec<u8> = (0..300_u32).map(|byte| (byte * 7) as u8).collect();
        for length in 0..message.len() {
            let (text, associated, nonce) = (&message[..length], &message[..(length * 5) % 290], &message[3..19]);
            let (mut short, mut long) = (text.to_vec(), text.to_vec());
            let short_tag = Siv::<Aes128Enc>::new(&key[..32]).unwrap().seal([associated, nonce], &mut short);
            let long_tag = Siv::<Aes256Enc>::new(&key).unwrap().seal([associated, nonce], &mut long);
            let theirs =
                aes_siv::siv::Aes128Siv::new_from_slice(&key[..32]).unwrap().encrypt([associated, nonce], text);
            assert_eq!([&short_tag[..], &short].concat(), theirs.unwrap(), "{length}");
            let theirs = aes_siv::siv::Aes256Siv::new_from_slice(&key).unwrap().encrypt([associated, nonce], text);
            assert_eq!([&long_tag[..], &long].concat(), theirs.unwrap(), "{length}");
        }
    }

    #[test]
    fn what_is_not_whole_does_not_open_and_leaves_nothing() {
        let siv = Siv::<Aes128Enc>::new(&[5; 32]).unwrap();
        let mut sealed = *b"sixteen bytes, and then some";
        let tag = siv.seal([b"header"], &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut broken = sealed;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(!siv.open([b"header"], &tag, &mut broken));
            assert_eq!(broken, [0; 28]);
        }
        assert!(!siv.open([b"heAder"], &tag, &mut sealed.clone()));
        assert!(siv.open([b"header"], &tag, &mut sealed));
        assert_eq!(&sealed, b"sixteen bytes, and then some");
        assert!(Siv::<Aes128Enc>::new(&[0; 31]).is_none() && Siv::<Aes256Enc>::new(&[0; 32]).is_none());
    }
}
