package accounts

import (
	"fmt"
	"testing"

	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/sim/database"
)

const phone = "491700000001"

func load(t *testing.T, directory string) (*database.Database, *Directory) {
	t.Helper()
	db, err := database.Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Load(db)
	if err != nil {
		t.Fatal(err)
	}
	return db, d
}

func TestPhonesAreFoundByBothAddresses(t *testing.T) {
	_, d := load(t, "")
	a := d.Ensure(phone, "Ann")
	for _, jid := range []types.JID{a.PN(), a.Hidden(), types.NewJID(phone, types.LegacyUserServer)} {
		if d.Find(jid) != a {
			t.Errorf("%s is not found", jid)
		}
	}
	if d.Find(types.NewJID(phone, types.GroupServer)) != nil || d.Find(types.NewJID(a.LID, types.DefaultUserServer)) != nil {
		t.Error("an address of another kind is found")
	}
	if d.Ensure(phone, "").Name != "Ann" || d.Ensure(phone, "Anna").Name != "Anna" {
		t.Error("an empty name must keep, another replace")
	}
}

func TestPhoneNumbersAreChecked(t *testing.T) {
	for text, want := range map[string]bool{phone: true, "1234567": true, "0491700": false, "+491700000001": false, "49170a0000": false, "": false, "123456789012345": false} {
		if ValidPhone(text) != want {
			t.Errorf("%q: want %t", text, want)
		}
	}
}

func TestDeviceNumbersAreNotReusedSoon(t *testing.T) {
	_, d := load(t, "")
	a := d.Ensure(phone, "")
	first, _ := d.ReserveDevice(a)
	dev := d.AddDevice(a, first, [32]byte{1}, "")
	d.RemoveDevice(dev)
	if second, _ := d.ReserveDevice(a); second == first {
		t.Errorf("number %d is given out again at once", second)
	}
	for range maxDevice {
		n, err := d.ReserveDevice(a)
		if err != nil {
			t.Fatal(err)
		}
		d.AddDevice(a, n, [32]byte{}, "")
	}
	if _, err := d.ReserveDevice(a); err == nil {
		t.Error("there is a number left beyond the last")
	}
}

func TestEachPreKeyIsGivenOutOnce(t *testing.T) {
	_, d := load(t, "")
	a := d.Ensure(phone, "")
	dev := d.AddDevice(a, 1, [32]byte{}, "")
	for i := range byte(3) {
		d.AddPreKeys(dev, []PreKey{{ID: []byte{0, 0, i}, Key: make([]byte, 32)}, {ID: []byte{0, 0, i}, Key: make([]byte, 32)}})
	}
	seen := map[string]bool{}
	for range 3 {
		k, ok := d.TakePreKey(dev)
		if !ok || seen[string(k.ID)] {
			t.Fatalf("key %v, %t", k, ok)
		}
		seen[string(k.ID)] = true
	}
	if _, ok := d.TakePreKey(dev); ok {
		t.Error("a fourth key of three")
	}
}

// A corrupt stanza and its repetition share a key: the first ack is for the first.
func TestAckTakesTheOldestEntrySentOnItsConnection(t *testing.T) {
	_, d := load(t, "")
	dev := d.AddDevice(d.Ensure(phone, ""), 1, [32]byte{}, "")
	key := StanzaKey{Class: "message", ID: "M1", From: "1"}
	first, second := &Entry{Key: key}, &Entry{Key: key}
	d.Enqueue(dev, first)
	if dev.Queue.Acknowledged(key, 7) != nil {
		t.Error("acknowledged before it was sent")
	}
	first.SentOn = 7
	d.Enqueue(dev, second)
	second.SentOn = 7
	if got := dev.Queue.Acknowledged(key, 7); got != first {
		t.Errorf("got entry %d", got.Number)
	}
	d.Dequeue(dev, first)
	if got := dev.Queue.Acknowledged(key, 7); got != second || dev.Queue.Len() != 1 {
		t.Error("the repetition is gone with the first")
	}
}

func TestAllSurvivesARestart(t *testing.T) {
	directory := t.TempDir()
	db, d := load(t, directory)
	a := d.Ensure(phone, "Ann")
	a.Privacy["last"] = "none"
	a.Blocked = []string{"100"}
	d.Save(a)
	n, _ := d.ReserveDevice(a)
	dev := d.AddDevice(a, n, [32]byte{9}, "android")
	gone := d.AddDevice(a, 50, [32]byte{8}, "android")
	d.SetBundle(dev, &Bundle{Registration: []byte{1, 2, 3, 4}})
	d.AddPreKeys(dev, []PreKey{{ID: []byte{0, 0, 1}, Key: []byte("a")}, {ID: []byte{0, 0, 2}, Key: []byte("b")}})
	d.AddPreKeys(gone, []PreKey{{ID: []byte{0, 0, 1}, Key: []byte("c")}})
	d.TakePreKey(dev)
	var entries []*Entry
	for i := range 3 {
		e := &Entry{Key: StanzaKey{Class: "message", ID: fmt.Sprint(i)}, Payload: []byte{byte(i)}, Sender: "x", Twins: 1, Reencrypt: true}
		d.Enqueue(dev, e)
		d.Enqueue(gone, &Entry{Key: e.Key})
		entries = append(entries, e)
	}
	d.Dequeue(dev, entries[1])
	d.RemoveDevice(gone)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	db, d = load(t, directory)
	defer func() { _ = db.Close() }()
	back := d.Phone(phone)
	if back == nil || back.Name != "Ann" || *back.Key.Priv != *a.Key.Priv || back.Privacy["last"] != "none" || back.Blocked[0] != "100" || len(back.Devices) != 1 {
		t.Fatalf("account %+v", back)
	}
	dev = back.Devices[n]
	if dev.Noise != [32]byte{9} || dev.Bundle.Registration[3] != 4 || dev.PreKeyCount() != 1 {
		t.Errorf("device %+v", dev)
	}
	queue := dev.Queue.Entries()
	if len(queue) != 2 || queue[0].Key.ID != "0" || queue[1].Key.ID != "2" || !queue[0].Durable || queue[1].Payload[0] != 2 || queue[0].Twins != 1 || !queue[0].Reencrypt {
		t.Errorf("queue %+v", queue)
	}
	later := &Entry{}
	d.Enqueue(dev, later)
	if later.Number <= queue[1].Number {
		t.Errorf("entry %d after %d", later.Number, queue[1].Number)
	}
}
