package logdriver

import (
	"bytes"
	"io"
	"os"
)

// seekTail sets the files (newest first) so that reading them oldest first gives their last n lines, and returns
// those that are needed; the others are closed.
func seekTail(files []*os.File, n int) ([]*os.File, error) {
	for i, f := range files {
		found, err := seekLines(f, n)
		if err != nil {
			return files, err
		}
		n -= found
		if n <= 0 {
			closeAll(files[i+1:])
			return files[:i+1], nil
		}
	}
	return files, nil
}

// seekLines sets f to the start of its last n whole lines and tells how many it has, at most n.
func seekLines(f *os.File, n int) (int, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return 0, err
	}
	const block = 64 << 10
	buf := make([]byte, block)
	newlines, at := 0, end
	for at > 0 {
		size := min(block, at)
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil && err != io.EOF {
			return 0, err
		}
		chunk := buf[:size]
		for {
			i := bytes.LastIndexByte(chunk, '\n')
			if i < 0 {
				break
			}
			// The newline before the n-th line from the end is the (n+1)-th from the end.
			if newlines == n {
				_, err := f.Seek(at+int64(i)+1, io.SeekStart)
				return n, err
			}
			newlines++
			chunk = chunk[:i]
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return newlines, err
}
