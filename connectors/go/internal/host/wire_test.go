package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/hostpb"
)

func TestFrames(t *testing.T) {
	var buf []byte
	var err error
	want := []*hostpb.ToHost{
		{Body: &hostpb.ToHost_Credit{Credit: &hostpb.Credit{Bytes: 5}}}, {},
		{Body: &hostpb.ToHost_RestoreItems{RestoreItems: &hostpb.RestoreItems{Items: []*hostpb.Item{{Name: "a", Value: make([]byte, 100_000)}}}}},
	}
	for _, m := range want {
		if buf, err = appendFrame(buf, m); err != nil {
			t.Fatal(err)
		}
	}
	r := bytes.NewReader(buf)
	var scratch []byte
	for i, m := range want {
		got := &hostpb.ToHost{}
		if scratch, err = readFrame(r, scratch, got); err != nil || !proto.Equal(got, m) {
			t.Fatalf("frame %d: %v %v", i, got, err)
		}
	}
	if _, err := readFrame(r, scratch, &hostpb.ToHost{}); err != io.EOF {
		t.Errorf("end between frames: %v", err)
	}
}

// WhatsApp may send bytes that are no text where text is expected.
func TestFramesOfWhatIsNoText(t *testing.T) {
	m := &hostpb.FromHost{Body: &hostpb.FromHost_Entry{Entry: &hostpb.JournalEntry{
		Changes: []*hostpb.ItemChange{{Name: "x/\xff", Value: []byte{0xff}}},
		Events: []*hostpb.Event{
			{Body: &hostpb.Event_State{State: &hostpb.SessionState{Reason: "a\xffb", Counts: map[string]int64{"n\xff": 1}}}},
			{Body: &hostpb.Event_Receipt{Receipt: &hostpb.Receipt{MessageIds: []string{"ok", "\xc3\x28"}}}},
		},
	}}}
	buf, err := appendFrame([]byte{7}, m)
	if err != nil {
		t.Fatal(err)
	}
	back := &hostpb.FromHost{}
	if _, err = readFrame(bytes.NewReader(buf[1:]), nil, back); err != nil || !proto.Equal(m, back) {
		t.Fatalf("%v: %v", back, err)
	}
	e := back.GetEntry()
	if s := e.Events[0].GetState(); s.Reason != "a\uFFFDb" || s.Counts["n\uFFFD"] != 1 || len(s.Counts) != 1 {
		t.Errorf("state %v", s)
	}
	if ids := e.Events[1].GetReceipt().MessageIds; ids[0] != "ok" || ids[1] != "\uFFFD(" {
		t.Errorf("ids %v", ids)
	}
	if c := e.Changes[0]; c.Name != "x/\uFFFD" || c.Value[0] != 0xff {
		t.Errorf("change %v", c)
	}
}

func TestBadFrames(t *testing.T) {
	large := binary.BigEndian.AppendUint32(nil, maxFrame+1)
	if _, err := readFrame(bytes.NewReader(large), nil, &hostpb.ToHost{}); !errors.Is(err, errFrameTooLarge) {
		t.Errorf("too large: %v", err)
	}
	cut := append(binary.BigEndian.AppendUint32(nil, 10), 1, 2)
	if _, err := readFrame(bytes.NewReader(cut), nil, &hostpb.ToHost{}); err != io.ErrUnexpectedEOF {
		t.Errorf("cut: %v", err)
	}
	malformed := append(binary.BigEndian.AppendUint32(nil, 2), 0xff, 0xff)
	if _, err := readFrame(bytes.NewReader(malformed), nil, &hostpb.ToHost{}); err == nil {
		t.Error("malformed was accepted")
	}
	huge := &hostpb.ToHost{Body: &hostpb.ToHost_RestoreItems{RestoreItems: &hostpb.RestoreItems{Items: []*hostpb.Item{{Value: make([]byte, maxFrame)}}}}}
	if buf, err := appendFrame([]byte{7}, huge); !errors.Is(err, errFrameTooLarge) || len(buf) != 1 {
		t.Errorf("writing too large: %v, %d bytes", err, len(buf))
	}
}

// Whatever comes, readFrame ends with a message or an error, and what it accepted survives another round.
func FuzzFrames(f *testing.F) {
	good, err := appendFrame(nil, &hostpb.ToHost{Body: &hostpb.ToHost_Credit{Credit: &hostpb.Credit{Bytes: 5}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0, 0, 0, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		var buf []byte
		for {
			m := &hostpb.ToHost{}
			var err error
			if buf, err = readFrame(r, buf, m); err != nil {
				return
			}
			again, err := appendFrame(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			back := &hostpb.ToHost{}
			if _, err := readFrame(bytes.NewReader(again), nil, back); err != nil || !proto.Equal(m, back) {
				t.Fatalf("%v became %v: %v", m, back, err)
			}
		}
	})
}
