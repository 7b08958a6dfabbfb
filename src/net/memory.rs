//! Giving memory back that only the start needed.
//!
//! The kernel maps sixteen pages of a program around each one that is used, and keeps them mapped: a start that reads
//! settings, files and certificates leaves most of a program's code resident, of which the relay of bytes uses little.

use std::io;

/// Unmaps the code of this program and its libraries from this process, so that what is used from here on is counted
/// as resident, and nothing else. Nothing is lost: code is never written to, and a page that is needed again comes from
/// the page cache, or from the file. Returns how many bytes of address space were looked at.
///
/// # Errors
/// `/proc/self/maps` cannot be read.
pub fn release_code() -> io::Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let code = maps.lines().filter_map(code_of_a_file);
    Ok(code.map(|(start, end)| unmap(start, end)).sum())
}

/// The range of a mapping that is private, executable, not writable, and of a file.
fn code_of_a_file(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let range = fields.next()?;
    let permissions = fields.next()?;
    let path = fields.nth(3)?;
    if permissions != "r-xp" || !path.starts_with('/') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((
        usize::from_str_radix(start, 16).ok()?,
        usize::from_str_radix(end, 16).ok()?,
    ))
}

fn unmap(start: usize, end: usize) -> usize {
    let length = end - start;
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    // SAFETY: the range is a private mapping of a file that is not writable, as the kernel has just said. It has no pages of
    // its own (there are no relocations in code), so dropping them leaves the same bytes to be read from the file. Should
    // the mapping be gone by now, the call fails.
    let outcome = unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    if outcome == 0 { length } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_meant() {
        let code = "55e0a0000000-55e0a0800000 r-xp 00200000 fe:00 1234    /usr/bin/adit";
        assert_eq!(code_of_a_file(code), Some((0x55e0_a000_0000, 0x55e0_a080_0000)));
        for other in [
            "55e0a0000000-55e0a0800000 r--p 00200000 fe:00 1234    /usr/bin/adit",
            "55e0a0000000-55e0a0800000 rwxp 00200000 fe:00 1234    /usr/bin/adit",
            "7ffd0a5fe000-7ffd0a600000 r-xp 00000000 00:00 0       [vdso]",
            "7f0000000000-7f0000021000 r-xp 00000000 00:00 0",
            "nonsense",
        ] {
            assert_eq!(code_of_a_file(other), None, "{other}");
        }
    }

    #[test]
    fn the_program_runs_on() {
        assert!(release_code().unwrap() > 0);
        assert_eq!("still here".to_uppercase(), "STILL HERE");
    }
}
