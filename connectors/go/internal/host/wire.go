package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
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

// repair replaces what is not UTF-8 in every string of a message.
func repair(m protoreflect.Message) {
	valid := func(v protoreflect.Value) protoreflect.Value {
		return protoreflect.ValueOfString(strings.ToValidUTF8(v.String(), "\uFFFD"))
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		text, message := f.Kind() == protoreflect.StringKind, f.Message() != nil
		switch {
		case f.IsMap():
			repairMap(f, v.Map(), valid)
		case f.IsList() && text:
			for i := range v.List().Len() {
				v.List().Set(i, valid(v.List().Get(i)))
			}
		case f.IsList() && message:
			for i := range v.List().Len() {
				repair(v.List().Get(i).Message())
			}
		case text:
			m.Set(f, valid(v))
		case message:
			repair(v.Message())
		}
		return true
	})
}

func repairMap(f protoreflect.FieldDescriptor, m protoreflect.Map, valid func(protoreflect.Value) protoreflect.Value) {
	type entry struct {
		key   protoreflect.MapKey
		value protoreflect.Value
	}
	var all []entry
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		all = append(all, entry{k, v})
		return true
	})
	for _, e := range all {
		key, value := e.key, e.value
		switch {
		case f.MapValue().Kind() == protoreflect.StringKind:
			value = valid(value)
		case f.MapValue().Message() != nil:
			repair(value.Message())
		}
		if f.MapKey().Kind() == protoreflect.StringKind {
			key = valid(key.Value()).MapKey()
		}
		m.Clear(e.key)
		m.Set(key, value)
	}
}

// appendFrame encodes one message; the size counted against the credit is the result's without the header.
func appendFrame(buf []byte, m proto.Message) ([]byte, error) {
	start := len(buf)
	buf = append(buf, make([]byte, frameHeader)...)
	buf, err := proto.MarshalOptions{}.MarshalAppend(buf, m)
	if err != nil {
		// WhatsApp's bytes may be no text where text is expected; protobuf refuses that.
		repair(m.ProtoReflect())
		if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf[:start+frameHeader], m); err != nil {
			return buf[:start], err
		}
	}
	n := len(buf) - start - frameHeader
	if n > maxFrame {
		return buf[:start], fmt.Errorf("%w: %d bytes", errFrameTooLarge, n)
	}
	binary.BigEndian.PutUint32(buf[start:], uint32(n))
	return buf, nil
}
