package signalstore

import (
	"encoding/binary"
	"sort"
	"time"
)

// Items that lose their use with age: their values begin with the second they were written in. A kind is swept when it
// exceeds its limit by a tenth, so that sorting is rare.
const (
	stampSize    = 8
	retryMaxAge  = 7 * 24 * time.Hour
	secretMaxAge = 60 * 24 * time.Hour // votes, edits and event answers come late
)

type aging struct {
	prefix string
	limit  int
	maxAge time.Duration
	count  int
}

func stamped(now time.Time, parts ...[]byte) []byte {
	out := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func stampOf(value []byte) int64 {
	if len(value) < stampSize {
		return 0
	}
	return int64(binary.BigEndian.Uint64(value))
}

// putAging stores an item of an aging kind and sweeps the kind when it has grown too large.
func (s *Store) putAging(kind *aging, name string, value []byte, step bool) error {
	_, known := s.items[name]
	if err := s.put(name, value, step); err != nil {
		return err
	}
	if !known {
		kind.count++
	}
	if kind.count <= kind.limit+kind.limit/10 {
		return nil
	}
	return s.sweep(kind)
}

func (s *Store) removeAging(kind *aging, name string, step bool) error {
	if _, known := s.items[name]; !known {
		return nil
	}
	if err := s.remove(name, step); err != nil {
		return err
	}
	kind.count--
	return nil
}

// sweep removes what is too old and the oldest above the limit.
func (s *Store) sweep(kind *aging) error {
	names := s.names(kind.prefix)
	sort.SliceStable(names, func(i, j int) bool { return stampOf(s.items[names[i]]) < stampOf(s.items[names[j]]) })
	oldest := s.opts.Now().Add(-kind.maxAge).Unix()
	for i, name := range names {
		if len(names)-i <= kind.limit && stampOf(s.items[name]) >= oldest {
			break
		}
		if err := s.removeAging(kind, name, false); err != nil {
			return err
		}
	}
	return nil
}
