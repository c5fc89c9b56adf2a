//! Reading and writing at a position without a shared cursor, so that many threads can use one open file.
//! Not here: bounds and error kinds, which the callers know.

use std::fs::File;
use std::io;

/// Reads up to `buffer.len()` bytes; 0 only at the end of the file. Interruptions are retried.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match read_once(file, buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Fills the buffer; `UnexpectedEof` if the file ends before.
pub fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match read_at(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}

/// Writes all bytes.
pub fn write_all_at(file: &File, mut data: &[u8], mut offset: u64) -> io::Result<()> {
    while !data.is_empty() {
        match write_once(file, data, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                data = &data[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(unix)]
fn write_once(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, data, offset)
}

// Windows moves the cursor as well, which nobody here uses.
#[cfg(windows)]
fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(windows)]
fn write_once(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, data, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_independent() {
        let file = tempfile::tempfile().expect("temporary file");
        write_all_at(&file, b"world", 6).expect("write");
        write_all_at(&file, b"hello ", 0).expect("write");
        let mut buffer = [0; 11];
        read_exact_at(&file, &mut buffer, 0).expect("read");
        assert_eq!(&buffer, b"hello world");
        assert_eq!(read_at(&file, &mut buffer, 11).expect("end"), 0);
        let error = read_exact_at(&file, &mut buffer, 1).expect_err("one byte short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
