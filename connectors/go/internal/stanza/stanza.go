// Package stanza checks frames before whatsmeow's decoder sees them: it trusts its input (it asserts types, recurses and
// inflates without a bound), so a malformed frame would end the process.
package stanza

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"go.mau.fi/whatsmeow/binary/token"
)

const (
	// MaxDepth bounds nesting; the deepest stanza known (usync) has seven levels.
	MaxDepth   = 24
	compressed = 2
)

var (
	// ErrMalformed is wrapped by every refusal.
	ErrMalformed = errors.New("malformed node")
	// ErrTooLarge means more bytes than allowed, after decompression.
	ErrTooLarge = errors.New("node too large")
)

// Limits of one stanza.
type Limits struct {
	Bytes int // decompressed
	Nodes int // list elements
}

// Open gives the encoded stanza of a frame's payload, decompressed and of a shape that decodes without a panic.
func Open(payload []byte, limits Limits) ([]byte, error) {
	if len(payload) == 0 {
		return nil, fmt.Errorf("%w: empty payload", ErrMalformed)
	}
	data := payload[1:]
	if payload[0]&compressed != 0 {
		var err error
		if data, err = inflate(data, limits.Bytes); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	check := shape{data: data, most: limits.Nodes}
	if err := check.node(0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return data, nil
}

func inflate(data []byte, limit int) ([]byte, error) {
	reader, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(reader, int64(limit)+1))
	if err == nil && len(out) > limit {
		err = ErrTooLarge
	}
	return out, err
}

var (
	errEnd      = errors.New("ends early")
	errDepth    = errors.New("nested too deep")
	errSize     = errors.New("too many nodes")
	errNotText  = errors.New("text expected")
	errNoTag    = errors.New("node without a tag")
	errBadToken = errors.New("unknown token")
)

// shape walks the encoding without building anything: lengths, nesting, and that text stands where text is asserted.
type shape struct {
	data  []byte
	nodes int
	most  int
}

func (s *shape) take(n int) ([]byte, error) {
	if n < 0 || n > len(s.data) {
		return nil, errEnd
	}
	out := s.data[:n]
	s.data = s.data[n:]
	return out, nil
}

func (s *shape) byte() (int, error) {
	b, err := s.take(1)
	if err != nil {
		return 0, err
	}
	return int(b[0]), nil
}

func (s *shape) listSize(tag int) (int, error) {
	width := 0
	switch tag {
	case token.ListEmpty:
		return 0, nil
	case token.List8:
		width = 1
	case token.List16:
		width = 2
	default:
		return 0, errBadToken
	}
	b, err := s.take(width)
	size := 0
	for _, part := range b {
		size = size<<8 | int(part)
	}
	return size, err
}

func (s *shape) node(depth int) error {
	if depth > MaxDepth {
		return errDepth
	}
	if s.nodes++; s.nodes > s.most {
		return errSize
	}
	tag, err := s.byte()
	if err != nil {
		return err
	}
	size, err := s.listSize(tag)
	if err != nil {
		return err
	}
	if size == 0 {
		return errNoTag
	}
	if err = s.text(depth); err != nil {
		return err
	}
	for range (size - 1) / 2 {
		if err = s.text(depth); err != nil {
			return err
		}
		if err = s.attribute(depth); err != nil {
			return err
		}
	}
	if size%2 == 1 {
		return nil
	}
	return s.value(depth)
}

// text accepts what decodes to a string: tag names, attribute names, users and servers of JIDs.
func (s *shape) text(depth int) error {
	if len(s.data) == 0 {
		return errEnd
	}
	switch int(s.data[0]) {
	case token.ListEmpty, token.List8, token.List16, token.FBJID, token.InteropJID, token.JIDPair, token.ADJID:
		return errNotText
	}
	return s.value(depth)
}

// attribute accepts text, a JID or nothing. A list would decode, and the encoder panics when it is sent back.
func (s *shape) attribute(depth int) error {
	if len(s.data) > 0 && (s.data[0] == token.List8 || s.data[0] == token.List16) {
		return errNotText
	}
	return s.value(depth)
}

func (s *shape) optionalText(depth int) error {
	if len(s.data) > 0 && s.data[0] == token.ListEmpty {
		_, err := s.take(1)
		return err
	}
	return s.text(depth)
}

func (s *shape) value(depth int) error {
	tag, err := s.byte()
	if err != nil {
		return err
	}
	switch tag {
	case token.ListEmpty:
		return nil
	case token.List8, token.List16:
		return s.list(tag, depth)
	case token.Binary8:
		return s.binary(1, 0xff)
	case token.Binary20:
		return s.binary(3, 0x0fffff)
	case token.Binary32:
		return s.binary(4, 0x7fffffff)
	case token.Dictionary0, token.Dictionary1, token.Dictionary2, token.Dictionary3:
		_, err = s.take(1)
		return err
	case token.Nibble8, token.Hex8:
		return s.packed()
	case token.JIDPair:
		if err = s.optionalText(depth); err != nil {
			return err
		}
		return s.text(depth)
	case token.ADJID:
		return s.jid(2, 0, false, depth)
	case token.FBJID:
		return s.jid(0, 2, true, depth)
	case token.InteropJID:
		return s.jid(0, 4, true, depth)
	default:
		if tag >= len(token.SingleByteTokens) {
			return errBadToken
		}
		return nil
	}
}

func (s *shape) list(tag, depth int) error {
	size, err := s.listSize(tag)
	if err != nil {
		return err
	}
	for range size {
		if err = s.node(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

func (s *shape) binary(width, mask int) error {
	b, err := s.take(width)
	if err != nil {
		return err
	}
	size := 0
	for _, part := range b {
		size = size<<8 | int(part)
	}
	_, err = s.take(size & mask)
	return err
}

// packed digits come two in a byte; an odd count sets the high bit, which makes no sense for none at all.
func (s *shape) packed() error {
	length, err := s.byte()
	if err != nil {
		return err
	}
	if length == 0x80 {
		return errEnd
	}
	_, err = s.take(length & 0x7f)
	return err
}

func (s *shape) jid(before, after int, server bool, depth int) error {
	if _, err := s.take(before); err != nil {
		return err
	}
	if err := s.text(depth); err != nil {
		return err
	}
	if _, err := s.take(after); err != nil || !server {
		return err
	}
	return s.text(depth)
}
