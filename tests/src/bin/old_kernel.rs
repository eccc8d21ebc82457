//! A kernel before Linux 6.16, as far as a program can tell: one without SO_PASSRIGHTS.
//!
//! `old_kernel PROGRAM ARGUMENT...` executes PROGRAM. For the option, the kernel answers `ENOPROTOOPT` from then on.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, env, error::Error, os::unix::process::CommandExt, process::Command};

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().ok_or("usage: old_kernel PROGRAM ARGUMENT...")?;
    apply_filter(&without_pass_rights()?)?;
    Err(Command::new(program).args(arguments).exec().into())
}

fn without_pass_rights() -> Result<BpfProgram, Box<dyn Error>> {
    let level = SeccompCondition::new(1, Dword, Eq, u64::try_from(libc::SOL_SOCKET)?)?;
    let option = SeccompCondition::new(2, Dword, Eq, SO_PASSRIGHTS)?;
    let rule = SeccompRule::new(vec![level, option])?;
    let refused = BTreeMap::from([(libc::SYS_setsockopt, vec![rule.clone()]), (libc::SYS_getsockopt, vec![rule])]);
    let answer = SeccompAction::Errno(u32::try_from(libc::ENOPROTOOPT)?);
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, answer, env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

/// From asm-generic/socket.h.
const SO_PASSRIGHTS: u64 = 83;
