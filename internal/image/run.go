package image

import (
	"context"
	"time"

	"nephos/internal/diskformat"
)

// collectEvery is how often what nobody owns is looked for while the service runs.
const collectEvery = 10 * time.Minute

// prefetchDelay is how long an image stays in the cache's queue at least: Glance's prefetcher comes round at intervals, and its clients look whether what they queued is
// queued. Whoever queues many in a row has them copied in one round.
const prefetchDelay = time.Second

// Run brings what is queued for the cache, and collects bytes that no row owns, until ctx ends. One goroutine; its caller owns it.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		if s.HasCache() {
			if err := s.shelf.fill(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("image cache", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.shelf.kick:
			select { // the next round fills the cache
			case <-ctx.Done():
				return nil
			case <-time.After(prefetchDelay):
			}
		case <-tick.C:
			if _, err := s.Collect(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("image stores cannot be looked through", "err", err)
			}
			if err := s.expireTasks(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("old image tasks not forgotten", "err", err)
			}
			if s.HasCache() {
				if _, _, err := s.PruneCache(ctx); err != nil && ctx.Err() == nil {
					s.log.Warn("image cache not pruned", "err", err)
				}
			}
		}
	}
}

// ignore looks at nothing.
func ignore(*diskformat.Inspector, int64) error { return nil }
