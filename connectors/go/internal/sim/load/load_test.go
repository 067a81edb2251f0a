package load

import (
	"log/slog"
	"testing"
	"time"
)

func TestLoadIsCompleteInBothDirections(t *testing.T) {
	for name, data := range map[string]string{"memory": "", "kept": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			r, err := Run(t.Context(), Options{
				Pairs: 3, Messages: 100, Duplex: true, Data: data, Timeout: time.Minute,
				Log: slog.New(slog.DiscardHandler), Progress: func(string) {},
			})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Good() || r.Sent != 100 || r.Received != 100 || r.PerSecond <= 0 || r.CPUPerMessage <= 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}
