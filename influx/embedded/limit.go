package embedded

import (
	"context"
	"log/slog"
	"time"

	"github.com/influxdata/influxdb/cmd/influxd/run"
	"github.com/influxdata/influxdb/services/meta"
)

// limitEvery is how often the size is checked.
const limitEvery = 30 * time.Second

// keepSmall deletes the oldest shards while the data is larger than most bytes.
func keepSmall(ctx context.Context, s *run.Server, most int64, every time.Duration, log *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	warned := time.Time{}
	for {
		if over := trim(s, most, log); over > 0 && time.Since(warned) > time.Hour {
			warned = time.Now()
			log.Warn("store: larger than its limit, and only the shards in use are left", "excess", over, "limit", most)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// victim is a shard group that may be deleted.
type victim struct {
	database, policy string
	group            meta.ShardGroupInfo
	limited          bool // its policy expires points anyway
}

// trim deletes shards until the data is no larger than most, and returns the remaining excess
// in bytes. Shards of policies that keep points for ever are deleted only when the other
// policies have nothing left but the shards that they write to.
func trim(s *run.Server, most int64, log *slog.Logger) (over int64) {
	for {
		size, err := s.TSDBStore.DiskSize()
		if err != nil {
			log.Warn("store: cannot read the size of its data", "err", err)
			return 0
		}
		if size <= most {
			return 0
		}
		v := oldest(s.MetaClient.Databases(), time.Now())
		if v == nil {
			return size - most
		}
		log.Warn("store: larger than its limit, deleting the oldest shards", "size", size, "limit", most,
			"policy", v.policy, "from", v.group.StartTime, "to", v.group.EndTime)
		if err := s.MetaClient.DeleteShardGroup(v.database, v.policy, v.group.ID); err != nil {
			log.Warn("store: cannot delete a shard", "err", err)
			return size - most
		}
		for _, shard := range v.group.Shards {
			if err := s.TSDBStore.DeleteShard(shard.ID); err != nil {
				log.Warn("store: cannot delete a shard", "err", err)
				return size - most
			}
		}
	}
}

// oldest returns the shard group to delete first; nil if all are in use.
func oldest(databases []meta.DatabaseInfo, now time.Time) (found *victim) {
	for _, d := range databases {
		for _, p := range d.RetentionPolicies {
			for _, g := range p.ShardGroups {
				if g.Deleted() || g.EndTime.After(now) {
					continue
				}
				v := victim{d.Name, p.Name, g, p.Duration > 0}
				if found == nil || v.limited && !found.limited || v.limited == found.limited && g.EndTime.Before(found.group.EndTime) {
					found = &v
				}
			}
		}
	}
	return found
}
