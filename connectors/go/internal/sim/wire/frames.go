package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"go.mau.fi/whatsmeow/binary/token"
	"go.mau.fi/whatsmeow/socket"
)

const (
	// MaxFrame bounds what one frame may hold; WhatsApp's own limit is 16 MiB, no client needs a tenth of it.
	MaxFrame = 4 << 20
	// maxRouting bounds the optional routing header before the prologue.
	maxRouting = 4 << 10
	readBuffer = 4 << 10
	routingTag = "ED"
)

var (
	// ErrPrologue means that the peer does not speak this protocol or another version of it.
	ErrPrologue = errors.New("unknown connection prologue")
	// ErrFrameTooLarge means a frame beyond MaxFrame.
	ErrFrameTooLarge = errors.New("frame too large")
)

// FrameReader cuts the byte stream of a connection into frames.
type FrameReader struct{ stream *bufio.Reader }

// NewFrameReader reads from a stream without message borders, as frames may span WebSocket messages or share one.
func NewFrameReader(stream io.Reader) *FrameReader {
	return &FrameReader{bufio.NewReaderSize(stream, readBuffer)}
}

// ReadPrologue reads the optional routing header and the four bytes `WA`, version, dictionary that Noise authenticates.
func (f *FrameReader) ReadPrologue() ([]byte, error) {
	start := make([]byte, len(socket.WAConnHeader))
	if _, err := io.ReadFull(f.stream, start); err != nil {
		return nil, err
	}
	if string(start[:2]) == routingTag {
		size, err := f.readLength()
		if err != nil {
			return nil, err
		}
		if size > maxRouting {
			return nil, fmt.Errorf("%w: routing header of %d bytes", ErrPrologue, size)
		}
		if _, err = f.stream.Discard(size); err != nil {
			return nil, err
		}
		if _, err = io.ReadFull(f.stream, start); err != nil {
			return nil, err
		}
	}
	if string(start[:2]) != "WA" || start[2] != socket.WAMagicValue {
		return nil, fmt.Errorf("%w: % x", ErrPrologue, start)
	}
	if start[3] != token.DictVersion {
		return nil, fmt.Errorf("%w: token dictionary %d, this server has %d; use a newer client library", ErrPrologue, start[3], token.DictVersion)
	}
	return start, nil
}

// Next returns the next frame's payload. Decoded nodes point into it, so it is never reused.
func (f *FrameReader) Next() ([]byte, error) {
	size, err := f.readLength()
	if err != nil {
		return nil, err
	}
	if size > MaxFrame {
		return nil, fmt.Errorf("%w: %d bytes", ErrFrameTooLarge, size)
	}
	// A peer that announces much and sends little must not make us allocate: large frames grow as they arrive.
	if size <= f.stream.Buffered() || size <= readBuffer {
		frame := make([]byte, size)
		_, err = io.ReadFull(f.stream, frame)
		return frame, err
	}
	frame, err := io.ReadAll(io.LimitReader(f.stream, int64(size)))
	if err == nil && len(frame) < size {
		err = io.ErrUnexpectedEOF
	}
	return frame, err
}

func (f *FrameReader) readLength() (int, error) {
	var prefix [socket.FrameLengthSize]byte
	if _, err := io.ReadFull(f.stream, prefix[:]); err != nil {
		return 0, err
	}
	return int(prefix[0])<<16 | int(prefix[1])<<8 | int(prefix[2]), nil
}

func appendLength(dst []byte, size int) []byte {
	return append(dst, byte(size>>16), byte(size>>8), byte(size))
}

// AppendPlain puts an unencrypted frame, as used during the handshake, onto dst.
func AppendPlain(dst, payload []byte) []byte {
	return append(appendLength(dst, len(payload)), payload...)
}
