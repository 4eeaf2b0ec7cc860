package volume

import (
	"context"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// remains is the file of a volume on a host that was down when the volume left it for another host. The row is written in the transaction in which the volume leaves, so that
// the file always has an owner; it goes when the host has said that the file is gone, or when the volume comes to that host again (settleOn).
type remains struct {
	VolumeID string `db:"volume_id"`
	Host     string `db:"host"`
	Epoch    int64  `db:"epoch"`
}

// sweepEvery is how often remains are looked for, sweepTime how long a host may take to erase one.
const (
	sweepEvery = 10 * time.Second
	sweepTime  = 30 * time.Second
)

// leave notes what a host that is down still has.
func leave(ctx context.Context, tx *db.Tx, r remains) error {
	_, err := tx.Exec(ctx, `INSERT INTO volume_remains (volume_id, host, epoch) VALUES (?, ?, ?) ON CONFLICT (volume_id, host) DO UPDATE SET epoch = excluded.epoch`, r.VolumeID, r.Host, r.Epoch)
	return err
}

// Run has hosts that are back erase what is left of volumes there, until ctx ends. Several controllers may do it: erasing twice is erasing.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("remains of volumes not erased", "err", err)
		}
	}
}

// sweep asks each host that is up, one file after the other; what fails is tried again the next time.
func (s *Service) sweep(ctx context.Context) error {
	var all []remains
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		all = nil
		return tx.Select(ctx, &all, `SELECT * FROM volume_remains ORDER BY host, volume_id`)
	})
	for _, r := range all {
		if err != nil {
			return err
		}
		if s.up(r.Host) {
			err = s.clear(ctx, r)
		}
	}
	return err
}

func (s *Service) clear(ctx context.Context, r remains) error {
	cctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	_, err := s.command(cctx, r.Host, hostapi.Command{ID: commandID("remains", r.VolumeID, int(r.Epoch)), Subject: r.VolumeID, Epoch: r.Epoch, Op: hostapi.OpVolumeDelete,
		Task: &hostapi.VolumeTask{VolumeID: r.VolumeID}})
	if err = absentIsWell(err); err != nil {
		s.Log.Info("remains of a volume stay", "volume", r.VolumeID, "host", r.Host, "why", fault.Message(err))
		return nil
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM volume_remains WHERE volume_id = ? AND host = ? AND epoch = ?`, r.VolumeID, r.Host, r.Epoch)
		return err
	})
}
