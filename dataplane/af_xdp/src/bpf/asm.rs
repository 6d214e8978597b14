//! A small typed assembler for eBPF (RFC 9669): registers, sizes and conditions are types, jumps go to labels.
//!
//! ```text
//!   one instruction, 64 bits:  | imm 32 | offset 16 | src 4 | dst 4 | opcode 8 |   (from the high end, little-endian host)
//! ```
//! Only what the programs of this crate need. Compares and arithmetic on values are of 32 bits (the upper half of the
//! result is zero); pointers are moved and added with 64.

use std::os::fd::RawFd;

const JUMP: u8 = 0x05;
const EXIT: u8 = 0x95;

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // they are what they are called
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// Width of a load or a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
    /// 64 bits.
    Double,
}

impl Size {
    /// The bits of an opcode that say how wide.
    const fn code(self) -> u8 {
        match self {
            Size::Word => 0x00,
            Size::Half => 0x08,
            Size::Byte => 0x10,
            Size::Double => 0x18,
        }
    }
}

/// When a conditional jump is taken; unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // they are what they are called
pub enum Cond {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

impl Cond {
    const fn code(self) -> u8 {
        match self {
            Cond::Equal => 0x10,
            Cond::Greater => 0x20,
            Cond::GreaterEqual => 0x30,
            Cond::NotEqual => 0x50,
            Cond::Less => 0xa0,
            Cond::LessEqual => 0xb0,
        }
    }
}

/// A place in the program, to jump to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

/// One encoded instruction slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    opcode: u8,
    dst: u8,
    src: u8,
    offset: i16,
    imm: i32,
}

impl Instruction {
    /// The slot as the kernel reads it (`struct bpf_insn`).
    pub fn encode(self) -> u64 {
        let [low, high] = self.offset.to_ne_bytes();
        let [a, b, c, d] = self.imm.to_ne_bytes();
        #[cfg(target_endian = "little")]
        let registers = self.src << 4 | self.dst;
        #[cfg(target_endian = "big")]
        let registers = self.dst << 4 | self.src;
        u64::from_ne_bytes([self.opcode, registers, low, high, a, b, c, d])
    }
}

/// A jump farther than 16 bits reach, or a label that was never placed: the program is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the XDP program is too long: {0} instructions; claim and exclude less, or wider prefixes")]
pub struct TooLong(pub usize);

/// A program being written.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Instruction>,
    /// Where each label is.
    places: Vec<Option<usize>>,
    /// Jumps to be given their offsets: (instruction, label).
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label, to be placed later.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Places `label` here.
    pub fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.code.len());
    }

    /// dst = imm.
    pub fn set(&mut self, dst: Reg, imm: i32) {
        self.emit(0xb7, dst, Reg::R0, 0, imm);
    }

    /// dst = src, 64 bits: also pointers.
    pub fn copy(&mut self, dst: Reg, src: Reg) {
        self.emit(0xbf, dst, src, 0, 0);
    }

    /// dst += imm, 64 bits: also pointers.
    pub fn add(&mut self, dst: Reg, imm: i32) {
        self.emit(0x07, dst, Reg::R0, 0, imm);
    }

    /// dst += src, 64 bits: also pointers.
    pub fn add_reg(&mut self, dst: Reg, src: Reg) {
        self.emit(0x0f, dst, src, 0, 0);
    }

    /// dst *= imm, 64 bits.
    pub fn multiply(&mut self, dst: Reg, imm: i32) {
        self.emit(0x27, dst, Reg::R0, 0, imm);
    }

    /// dst &= imm, 32 bits.
    pub fn and(&mut self, dst: Reg, imm: u32) {
        self.emit(0x54, dst, Reg::R0, 0, imm as i32);
    }

    /// dst <<= imm, 32 bits.
    pub fn shift_left(&mut self, dst: Reg, imm: i32) {
        self.emit(0x64, dst, Reg::R0, 0, imm);
    }

    /// dst = the 16-bit value in dst, turned from network to host order.
    pub fn from_network_16(&mut self, dst: Reg) {
        self.emit(0xdc, dst, Reg::R0, 0, 16);
    }

    /// dst = memory at src + offset, in host order, zero-extended.
    pub fn load(&mut self, size: Size, dst: Reg, src: Reg, offset: i16) {
        self.emit(0x61 | size.code(), dst, src, offset, 0);
    }

    /// memory at dst + offset = src, in host order.
    pub fn store(&mut self, size: Size, dst: Reg, offset: i16, src: Reg) {
        self.emit(0x63 | size.code(), dst, src, offset, 0);
    }

    /// dst = the address of a map.
    pub fn load_map(&mut self, dst: Reg, map: RawFd) {
        const PSEUDO_MAP_FD: Reg = Reg::R1;
        self.emit(0x18, dst, PSEUDO_MAP_FD, 0, map);
        self.emit(0, Reg::R0, Reg::R0, 0, 0);
    }

    /// dst = the address of the value of an array of one element.
    pub fn load_map_value(&mut self, dst: Reg, map: RawFd) {
        const PSEUDO_MAP_VALUE: Reg = Reg::R2;
        self.emit(0x18, dst, PSEUDO_MAP_VALUE, 0, map);
        self.emit(0, Reg::R0, Reg::R0, 0, 0);
    }

    /// Goes to `to`.
    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(JUMP, Reg::R0, Reg::R0, 0, 0);
    }

    /// Goes to `to` when the low 32 bits of `reg` compare so with `imm`.
    pub fn jump_if(&mut self, cond: Cond, reg: Reg, imm: u32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(0x06 | cond.code(), reg, Reg::R0, 0, imm as i32);
    }

    /// Goes to `to` when the registers compare so, 64 bits: also pointers.
    pub fn jump_if_reg(&mut self, cond: Cond, left: Reg, right: Reg, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(0x0d | cond.code(), left, right, 0, 0);
    }

    /// Goes to `to` when the low 32 bits of `reg` and `mask` have a bit in common.
    pub fn jump_if_any(&mut self, reg: Reg, mask: u32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(0x46, reg, Reg::R0, 0, mask as i32);
    }

    /// R0 = helper(R1, R2, R3, R4, R5); R1 to R5 are lost.
    pub fn call(&mut self, helper: i32) {
        self.emit(0x85, Reg::R0, Reg::R0, 0, helper);
    }

    /// Ends the program with R0 as its verdict.
    pub fn exit(&mut self) {
        self.emit(EXIT, Reg::R0, Reg::R0, 0, 0);
    }

    /// The finished program: without the instructions that nothing leads to, which the kernel would refuse, and its
    /// jumps resolved.
    ///
    /// # Errors
    /// When a jump does not reach its label.
    pub fn finish(self) -> Result<Vec<Instruction>, TooLong> {
        let len = self.code.len();
        let mut targets = vec![None; len];
        for (at, label) in self.jumps {
            targets[at] = Some(self.places[label.0].ok_or(TooLong(len))?);
        }
        let reached = reachable(&self.code, &targets);
        // Where each instruction will be: how many before it stay.
        let mut kept = 0;
        let mut moved: Vec<usize> = Vec::with_capacity(len + 1);
        for stays in &reached {
            moved.push(kept);
            kept += usize::from(*stays);
        }
        moved.push(kept);
        let mut code = Vec::with_capacity(kept);
        for (at, mut instruction) in self.code.into_iter().enumerate().filter(|(at, _)| reached[*at]) {
            if let Some(target) = targets[at] {
                // Offsets count from the instruction behind the jump.
                let distance = moved[target] as i64 - moved[at] as i64 - 1;
                instruction.offset = i16::try_from(distance).map_err(|_| TooLong(kept))?;
            }
            code.push(instruction);
        }
        Ok(code)
    }

    fn emit(&mut self, opcode: u8, dst: Reg, src: Reg, offset: i16, imm: i32) {
        self.code.push(Instruction { opcode, dst: dst as u8, src: src as u8, offset, imm });
    }
}

/// Which instructions can be come to from the first.
fn reachable(code: &[Instruction], targets: &[Option<usize>]) -> Vec<bool> {
    let mut reached = vec![false; code.len()];
    let mut ways = vec![0];
    while let Some(at) = ways.pop() {
        if at >= code.len() || std::mem::replace(&mut reached[at], true) {
            continue;
        }
        ways.extend(targets[at]);
        if !matches!(code[at].opcode, JUMP | EXIT) {
            ways.push(at + 1);
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_jump_counts_from_the_instruction_behind_it() {
        let mut asm = Assembler::default();
        let end = asm.label();
        asm.jump_if(Cond::Equal, Reg::R1, 7, end);
        asm.set(Reg::R0, 1);
        asm.place(end);
        asm.exit();
        let code = asm.finish().unwrap();
        assert_eq!((code[0].opcode, code[0].offset, code[0].imm), (0x16, 1, 7));
    }

    #[test]
    fn what_nothing_leads_to_is_left_out_and_jumps_still_arrive() {
        let mut asm = Assembler::default();
        let end = asm.label();
        asm.jump_if(Cond::Equal, Reg::R1, 7, end);
        asm.exit();
        asm.set(Reg::R0, 1);
        asm.set(Reg::R0, 2);
        asm.place(end);
        asm.exit();
        let code = asm.finish().unwrap();
        assert_eq!((code.len(), code[0].offset, code[2].opcode), (3, 1, EXIT));
    }

    #[test]
    fn a_jump_of_32767_instructions_is_made_and_one_more_is_refused() {
        for (between, fits) in [(32_767, true), (32_768, false)] {
            let mut asm = Assembler::default();
            let end = asm.label();
            asm.jump_if(Cond::Equal, Reg::R1, 7, end);
            (0..between).for_each(|_| asm.set(Reg::R0, 1));
            asm.place(end);
            asm.exit();
            assert_eq!(asm.finish().is_ok(), fits, "{between}");
        }
    }
}
