package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// A frame is a big-endian uint32 length and one message of that length.
const (
	frameHeader = 4
	maxFrame    = 16 << 20
)

var errFrameTooLarge = errors.New("frame larger than 16 MiB")

// readFrame reads one message. io.EOF means that the other side closed between two frames; buf is used again if it is
// large enough, so the message must not alias it (protobuf copies).
func readFrame(r io.Reader, buf []byte, into proto.Message) ([]byte, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return buf, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return buf, fmt.Errorf("%w: %d bytes", errFrameTooLarge, n)
	}
	if cap(buf) < int(n) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return buf, err
	}
	proto.Reset(into)
	if err := proto.Unmarshal(buf, into); err != nil {
		return buf, fmt.Errorf("malformed frame of %d bytes: %w", n, err)
	}
	return buf, nil
}

// appendFrame encodes one message; the size counted against the credit is the result's without the header.
func appendFrame(buf []byte, m proto.Message) ([]byte, error) {
	start := len(buf)
	buf = append(buf, make([]byte, frameHeader)...)
	buf, err := proto.MarshalOptions{}.MarshalAppend(buf, m)
	if err != nil {
		return buf[:start], err
	}
	n := len(buf) - start - frameHeader
	if n > maxFrame {
		return buf[:start], fmt.Errorf("%w: %d bytes", errFrameTooLarge, n)
	}
	binary.BigEndian.PutUint32(buf[start:], uint32(n))
	return buf, nil
}
