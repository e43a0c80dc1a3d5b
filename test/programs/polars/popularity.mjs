// The polars block of docs/research.md with polars for Node, whose engine is the same.
//
// In: the folder above an archive. Out: its rows as JSON, and the names of all columns.
import pl from 'nodejs-polars';

const wants = pl.scanParquet(`${process.argv[2]}/archive/wants/**/*.parquet`, { hivePartitioning: true });
const popularity = await wants
  .filter(pl.col('direction').eq(pl.lit('received')).and(pl.col('type').neq(pl.lit('cancel'))))
  .groupBy('cid')
  .agg(pl.col('peer').count().alias('requests'), pl.col('peer').nUnique().alias('peers'))
  .collect();
const rows = popularity.toRecords().map(({ cid, requests, peers }) => [cid, Number(requests), Number(peers)]);
rows.sort((a, b) => b[2] - a[2] || b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
const { columns } = await wants.head(1).collect();
console.log(JSON.stringify({ rows: rows.slice(0, 20), columns }));
