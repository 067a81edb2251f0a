package wire

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/binary/token"
	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/stanza"
)

func samples() []waBinary.Node {
	device := types.NewJID("4917000000", types.HiddenUserServer)
	device.Device = 7
	return []waBinary.Node{
		{Tag: "iq", Attrs: waBinary.Attrs{"id": "1.2-3", "type": "get", "to": types.ServerJID}},
		{Tag: "message", Attrs: waBinary.Attrs{"to": device, "id": "3EB0ABCDEF"}, Content: []waBinary.Node{
			{Tag: "participants", Content: []waBinary.Node{{Tag: "to", Attrs: waBinary.Attrs{"jid": device}, Content: []waBinary.Node{
				{Tag: "enc", Attrs: waBinary.Attrs{"v": "2", "type": "pkmsg"}, Content: bytes.Repeat([]byte{1, 2, 3}, 400)},
			}}}},
		}},
		{Tag: "ack", Attrs: waBinary.Attrs{"class": "message", "from": types.NewJID("123-456", types.GroupServer)}},
	}
}

func TestNodesSurviveTheWire(t *testing.T) {
	for _, n := range samples() {
		payload, err := Encode(n)
		must(t, err)
		back, err := Decode(payload)
		must(t, err)
		if !reflect.DeepEqual(*back, n) {
			t.Errorf("got %v, want %v", back, n)
		}
	}
}

func TestCompressedNodeIsRead(t *testing.T) {
	payload, err := Encode(samples()[1])
	must(t, err)
	back, err := Decode(compress(payload[1:]))
	must(t, err)
	if back.Tag != "message" {
		t.Errorf("got %v", back)
	}
}

func compress(data []byte) []byte {
	out := bytes.NewBuffer([]byte{2})
	w := zlib.NewWriter(out)
	_, _ = w.Write(data)
	_ = w.Close()
	return out.Bytes()
}

func TestEncodeRefusesWhatHasNoEncoding(t *testing.T) {
	if _, err := Encode(waBinary.Node{Tag: "iq", Attrs: waBinary.Attrs{"x": struct{}{}}}); !errors.Is(err, ErrNode) {
		t.Errorf("got %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := []byte{0}
	for range stanza.MaxDepth + 2 {
		deep = append(deep, token.List8, 2, 4, token.List8, 1)
	}
	deep = append(deep, token.List8, 1, 4)
	for name, payload := range map[string][]byte{
		"nothing":                   {},
		"an end after the flags":    {0},
		"a node without a tag":      {0, token.ListEmpty},
		"a list as a tag":           {0, token.List8, 1, token.List8, 0},
		"a JID without a server":    {0, token.List8, 3, 4, 4, token.JIDPair, 4, token.ListEmpty},
		"a JID as a user":           {0, token.List8, 3, 4, 4, token.ADJID, 0, 0, token.ADJID, 0, 0, 4},
		"an odd number of no digit": {0, token.List8, 1, token.Nibble8, 0x80},
		"a length beyond the end":   {0, token.List8, 2, 4, token.Binary32, 0x7f, 0xff, 0xff, 0xff},
		"a long list of nothing":    {0, token.List8, 2, 4, token.List16, 0xff, 0xff},
		"an unknown token":          {0, token.List8, 1, 0xf0},
		"deep nesting":              deep,
		"leftover bytes":            {0, token.List8, 1, 4, 4},
		"broken compression":        {2, 1, 2, 3},
		"a compression bomb":        compress(make([]byte, 3*MaxFrame)),
	} {
		t.Run(name, func(t *testing.T) {
			if node, err := Decode(payload); !errors.Is(err, ErrNode) {
				t.Errorf("got %v, %v", node, err)
			}
		})
	}
}

func TestFramesAreCut(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 3*readBuffer)
	stream := AppendPlain(AppendPlain(AppendPlain(nil, []byte("one")), long), nil)
	for _, chunk := range []int{1, 2, 5, len(stream)} {
		frames := NewFrameReader(&chunked{stream, chunk})
		for i, want := range [][]byte{[]byte("one"), long, {}} {
			got, err := frames.Next()
			must(t, err)
			if !bytes.Equal(got, want) {
				t.Errorf("chunks of %d: frame %d has %d bytes", chunk, i, len(got))
			}
		}
		if _, err := frames.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("got %v at the end", err)
		}
	}
}

func TestFrameBeyondTheLimitIsRefused(t *testing.T) {
	if _, err := NewFrameReader(strings.NewReader("\xff\xff\xff")).Next(); !errors.Is(err, ErrFrameTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := NewFrameReader(strings.NewReader("\x10\x00\x00abc")).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v for a frame that is cut off", err)
	}
}

type chunked struct {
	data []byte
	size int
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.data[:min(c.size, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}
