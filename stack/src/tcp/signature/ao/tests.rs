//! The vectors of RFC 9235: packets of a BGP session, with their traffic keys and codes.

use super::*;

struct Vector {
    name: &'static str,
    algorithm: Algorithm,
    covers_options: bool,
    /// ISN of who sent it, and of who receives it (0 in a SYN).
    isns: (u32, u32),
    traffic_key: &'static str,
    packet: &'static str,
}

use Algorithm::{Aes128Cmac, HmacSha1};

const UPDATE_V4: &str = "ffffffffffffffffffffffffffffffff00430104";
const V4_TAIL: &str = "26020601040001000102028000020202000202420002064104";

const VECTORS: [Vector; 14] = [
    Vector {
        name: "4.1.1",
        algorithm: HmacSha1,
        covers_options: true,
        isns: (0xfbfb_ab5a, 0),
        traffic_key: "6d63ef1b02fe1509d4b1402707fd7b0416abb74f",
        packet: "45e0004cdd0f4000ff06bf6b0a0b0c0dac1b1c1de9d700b3fbfbab5a00000000e002ffffcac40000020405b401030308\
                 0402080a00155ab7000000001d103d542ee437c6f8ede6d7c4d602e7",
    },
    Vector {
        name: "4.1.2",
        algorithm: HmacSha1,
        covers_options: true,
        isns: (0x11c1_4261, 0xfbfb_ab5a),
        traffic_key: "d9e217e4834a80ca2f3fd8de2e41b8e6797fea96",
        packet: "45e0004c65064000ff063775ac1b1c1d0a0b0c0d00b3e9d711c14261fbfbab5be012ffff37760000020405b401030308\
                 0402080a84a50beb00155ab71d10543deeab0fe24c3010815116b3be",
    },
    Vector {
        name: "4.1.3",
        algorithm: HmacSha1,
        covers_options: true,
        isns: (0xfbfb_ab5a, 0x11c1_4261),
        traffic_key: "d2e59c65ffc7b1a39347656463b70edc24a13d71",
        packet: "45e0008736a14000ff06659f0a0b0c0dac1b1c1de9d700b3fbfbab5b11c14262c0180104a16200000101080a00155ac1\
                 84a50beb1d103d547064cf998cc6c315c2c2e2bf[]dabf00b40a0b0c0d[]0000dabf02084006006400010100",
    },
    Vector {
        name: "4.1.4",
        algorithm: HmacSha1,
        covers_options: true,
        isns: (0x11c1_4261, 0xfbfb_ab5a),
        traffic_key: "d9e217e4834a80ca2f3fd8de2e41b8e6797fea96",
        packet: "45e000871fa94000ff067c97ac1b1c1d0a0b0c0d00b3e9d711c14262fbfbab9ec0180100400c00000101080a84a50bf5\
                 00155ac11d10543da63f0ecbbb2e635c954deac7[]dac000b4ac1b1c1d[]0000dac002084006006400010100",
    },
    Vector {
        name: "4.2.1",
        algorithm: HmacSha1,
        covers_options: false,
        isns: (0xcb0e_fbee, 0),
        traffic_key: "30eaa1560cf0be57dab5c045229fb10a423cd7ea",
        packet: "45e0004c53994000ff0648e20a0b0c0dac1b1c1dff1200b3cb0efbee00000000e002ffff541f0000020405b401030308\
                 0402080a00024cce000000001d103d5480af3cfeb85368937b8f9ec2",
    },
    Vector {
        name: "4.2.3",
        algorithm: HmacSha1,
        covers_options: false,
        isns: (0xcb0e_fbee, 0xacd5_b5e1),
        traffic_key: "f3db1793d7910ecd806c34f155ea1f00345953e3",
        packet: "45e00087a8f54000ff06f34a0a0b0c0dac1b1c1dff1200b3cb0efbefacd5b5e2c01801046c4500000101080a00024cce\
                 576772f31d103d54710608cc696c03a271c93aa5[]dabf00b40a0b0c0d[]0000dabf02084006006400010100",
    },
    Vector {
        name: "5.1.1",
        algorithm: Aes128Cmac,
        covers_options: true,
        isns: (0x787a_1ddf, 0),
        traffic_key: "f5b8b3d5f34fdbb6eb8d4ab9660e60e3",
        packet: "45e0004c7b9f4000ff0620dc0a0b0c0dac1b1c1dc4fa00b3787a1ddf00000000e002ffff5a0f0000020405b401030308\
                 0402080a00017ed0000000001d103d54e477e99c8040765498e55091",
    },
    Vector {
        name: "5.1.3",
        algorithm: Aes128Cmac,
        covers_options: true,
        isns: (0x787a_1ddf, 0xfadd_6de9),
        traffic_key: "8c8ae0e8371ec5cbb97ea79d90418391",
        packet: "45e00087fb4f4000ff06a0f00a0b0c0dac1b1c1dc4fa00b3787a1de0fadd6deac0180104950500000101080a00017ed0\
                 93f4e9e81d103d5477412742fa4dc433eff0973e[]dabf00b40a0b0c0d[]0000dabf02084006006400010100",
    },
    Vector {
        name: "5.2.2",
        algorithm: Aes128Cmac,
        covers_options: false,
        isns: (0xd384_4a6f, 0x389b_ed71),
        traffic_key: "3ce67a551869506b6347b633c50a624a",
        packet: "45e0004c6cc04000ff062fbbac1b1c1d0a0b0c0d00b3da1cd3844a6f389bed72e012ffffe4450000020405b401030308\
                 0402080ace459838000185e11d10543d3a6abb207e49b1be7136db90",
    },
    Vector {
        name: "6.1.1",
        algorithm: HmacSha1,
        covers_options: true,
        isns: (0x176a_833f, 0),
        traffic_key: "625ec09d575836edc9b6428418bbf06989a361bb",
        packet: "6e0891dc00380640fd000000000000000000000000000001fd000000000000000000000000000002f7e400b3176a833f\
                 00000000e002ffff47210000020405a0010303080402080a0041d087000000001d103d549033ec3d7334b64c5edd039f",
    },
    Vector {
        name: "6.2.2",
        algorithm: HmacSha1,
        covers_options: false,
        isns: (0xeba3_734d, 0x020c_1e69),
        traffic_key: "405108947f996575e7bdbc26d40216a2c7fa91bd",
        packet: "6e0a7e1f00380640fd000000000000000000000000000002fd00000000000000000000000000000100b3c6cdeba3734d\
                 020c1e6ae012ffff774d0000020405a0010303080402080a5ec99b70009db95b1d10543d3c546bad9743f12df8b8010d",
    },
    Vector {
        name: "7.1.1",
        algorithm: Aes128Cmac,
        covers_options: true,
        isns: (0x193c_ccec, 0),
        traffic_key: "fa5a2108882d39d0c71929175ab1b7b8",
        packet: "6e04a70600380640fd000000000000000000000000000001fd000000000000000000000000000002f85a00b3193cccec\
                 00000000e002ffffde5d0000020405a0010303080402080a13e4ab99000000001d103d5459b588107481ac6dc3927040",
    },
    Vector {
        name: "7.2.1",
        algorithm: Aes128Cmac,
        covers_options: false,
        isns: (0xb01d_a74a, 0),
        traffic_key: "a94f511263e4093d35dd818c13bbbf53",
        packet: "6e093d7600380640fd000000000000000000000000000001fd000000000000000000000000000002f28800b3b01da74a\
                 00000000e002ffff75ff0000020405a0010303080402080a14275b3b000000001d103d543d45b4342de8bb1530847898",
    },
    Vector {
        name: "7.2.2",
        algorithm: Aes128Cmac,
        covers_options: false,
        isns: (0xa624_6145, 0xb01d_a74a),
        traffic_key: "92dea5bbc78b1d9f5b2952e9cd30642a",
        packet: "6e0c600a00380640fd000000000000000000000000000002fd00000000000000000000000000000100b3f288a6246145\
                 b01da74be012ffffa70c0000020405a0010303080402080a1782245b14275b3b1d10543d1d01f6c87c6f93acffa9d4b5",
    },
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The same BGP message in all: its two common pieces are left out above.
fn packet(hex: &str) -> Vec<u8> {
    bytes(&hex.replacen("[]", UPDATE_V4, 1).replacen("[]", V4_TAIL, 1))
}

fn addresses(packet: &[u8]) -> (IpAddr, IpAddr, usize) {
    if packet[0] >> 4 == 4 {
        let at = |from: usize| <[u8; 4]>::try_from(&packet[from..from + 4]).unwrap().into();
        (at(12), at(16), 20)
    } else {
        let at = |from: usize| <[u8; 16]>::try_from(&packet[from..from + 16]).unwrap().into();
        (at(8), at(24), 40)
    }
}

#[test]
fn the_vectors_of_rfc_9235_are_met() {
    for vector in VECTORS {
        let packet = packet(vector.packet);
        let (source, destination, tcp) = addresses(&packet);
        let port = |at: usize| u16::from_be_bytes([packet[tcp + at], packet[tcp + at + 1]]);
        let header_len = usize::from(packet[tcp + 12] >> 4) * 4;
        let (header, data) = packet[tcp..].split_at(header_len);
        // In the RFC the client sends with key id 61 and the server with 84.
        let mut key = AoKey::new(61, 84, vector.algorithm, b"testvector").unwrap();
        key.covers_options = vector.covers_options;
        let direction = Direction {
            source: (source, port(0)),
            destination: (destination, port(2)),
            source_isn: Seq(vector.isns.0),
            destination_isn: Seq(vector.isns.1),
        };
        let traffic = key.traffic_key(&direction);
        let expected = bytes(vector.traffic_key);
        assert_eq!(traffic.bytes[..expected.len()], expected, "traffic key of {}", vector.name);
        let segment = Signed { source, destination, header, data: &[data] };
        let found = super::super::SignatureOption::find(segment.options()).unwrap();
        let super::super::SignatureOption::Ao { mac, .. } = found else {
            panic!("{}: no option", vector.name)
        };
        assert_eq!(traffic.sign(&segment, 0), *mac, "code of {}", vector.name);
        assert!(traffic.verify(&segment, 0, mac) && !traffic.verify(&segment, 1, mac), "{}", vector.name);
    }
}

#[test]
fn other_options_count_only_where_they_are_covered() {
    for (vector, covered) in [(&VECTORS[0], true), (&VECTORS[4], false)] {
        let mut packet = packet(vector.packet);
        let mut key = AoKey::new(61, 84, vector.algorithm, b"testvector").unwrap();
        key.covers_options = covered;
        let (source, destination, tcp) = addresses(&packet);
        let source_isn = Seq(vector.isns.0);
        let direction = Direction {
            source: (source, 1),
            destination: (destination, 2),
            source_isn,
            destination_isn: Seq(0),
        };
        let traffic = key.traffic_key(&direction);
        let code = |packet: &[u8]| {
            traffic.sign(&Signed { source, destination, header: &packet[tcp..], data: &[] }, 0)
        };
        let before = code(&packet);
        packet[tcp + 23] ^= 1; // the MSS
        assert_eq!(code(&packet) != before, covered);
        packet[tcp + 4] ^= 1; // the sequence number
        assert_ne!(code(&packet), before);
        packet[tcp + 4] ^= 1;
        let ids = code(&packet);
        packet[tcp + 42] ^= 1; // the key id
        assert_ne!(code(&packet), ids);
    }
}

#[test]
fn master_keys_have_1_to_80_bytes() {
    assert_eq!(AoKey::new(1, 1, HmacSha1, &[]), Err(BadKey));
    assert!(AoKey::new(1, 1, HmacSha1, &[0; MAX_AO_KEY]).is_ok());
    assert_eq!(AoKey::new(1, 1, HmacSha1, &[0; MAX_AO_KEY + 1]), Err(BadKey));
    assert!(!format!("{:?}", AoKey::new(1, 2, HmacSha1, b"hidden").unwrap()).contains("104"));
}
