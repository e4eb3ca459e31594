package content

// ReadAt reads bytes that were written already, while more are being written: an unpacker follows a download so. It
// is the only method that other goroutines than the Writer's may call. After Commit, Close and Abort it fails with
// os.ErrClosed sooner or later; a committed blob is read on through Store.Reader.
func (w *Writer) ReadAt(p []byte, off int64) (int, error) { return w.file.ReadAt(p, off) }
