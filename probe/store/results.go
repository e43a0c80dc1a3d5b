package store

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/ipfsmon/ipfsmon/probe"
)

// Result is one row of provides_ecs or retrievals_ecs, with columns of its node.
type Result struct {
	Number    int64 `json:"-"` // increasing number in its scheduler's queue; not in the tables
	Provide   bool
	Scheduler int
	Node      int
	Fleet     string // of the node; only read
	Region    string // of the node; only read
	Step      string // of a provide
	Table     int    // rt_size
	Duration  time.Duration
	CID       string
	Error     string
	At        time.Time
	Lookup    *probe.Lookup // nil: the server did not report it
}

func (s *Store) add(ctx context.Context, tx conn, r *Result) error {
	lookup, err := encodeLookup(r.Lookup)
	if err != nil {
		return err
	}
	failure := sql.NullString{String: r.Error, Valid: r.Error != ""}
	table, columns, values := "retrievals_ecs", "", ""
	args := []any{r.Scheduler, r.Node, r.Table, r.Duration.Seconds(), r.CID, failure, s.t(r.At), lookup}
	if r.Provide {
		table = "provides_ecs"
		if s.step {
			columns, values = ", step", ", $9"
			args = append(args, r.Step)
		}
	}
	return tx.exec(ctx, s.q(`INSERT INTO `+table+` (scheduler_id, node_id, rt_size, duration, cid, error, created_at, lookup`+columns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8`+values+`)`), args...)
}

// Results returns the results from a time (included) to another (excluded), ordered
// by time, of these fleets or, if there are none, of all.
func (s *Store) Results(ctx context.Context, from, to time.Time, fleets []string) (out []Result, err error) {
	step := "'" + probe.StepProvide + "'"
	if s.step {
		step = "r.step"
	}
	const columns = `r.scheduler_id, r.node_id, n.fleet, n.region, r.rt_size, r.duration, r.cid, r.error, r.created_at AS created_at, r.lookup`
	err = s.db.query(ctx, func(row row) error {
		var r Result
		var id, provide int
		var duration float64
		var failure, lookup sql.NullString
		var at moment
		err := row.Scan(&provide, &id, &r.Step, &r.Scheduler, &r.Node, &r.Fleet, &r.Region, &r.Table, &duration, &r.CID, &failure, &at, &lookup)
		if err != nil {
			return err
		}
		r.Provide, r.Duration, r.Error, r.At = provide == 1, seconds(duration), failure.String, at.Time.UTC()
		if len(fleets) == 0 || slices.Contains(fleets, r.Fleet) {
			r.Lookup, err = decodeLookup(lookup)
			out = append(out, r)
		}
		return err
	}, s.q(`SELECT 1 AS provide, r.id AS id, `+step+` AS step, `+columns+` FROM provides_ecs r JOIN nodes_ecs n ON n.id = r.node_id WHERE r.created_at >= $1 AND r.created_at < $2
		UNION ALL SELECT 0, r.id, '`+probe.StepRetrieval+`', `+columns+` FROM retrievals_ecs r JOIN nodes_ecs n ON n.id = r.node_id WHERE r.created_at >= $1 AND r.created_at < $2
		ORDER BY created_at, provide DESC, id`), s.t(from), s.t(to))
	return out, wrap("read results", err)
}
