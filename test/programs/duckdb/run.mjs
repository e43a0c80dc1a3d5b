// Runs SQL statements in DuckDB and prints their rows, or how long they take.
//
// In: a list of statements as JSON on standard input; the word rows or time. Out: for each
// statement { rows, columns } or { rows: their number, seconds }, as JSON.
import { DuckDBInstance } from '@duckdb/node-api';

let input = '';
for await (const part of process.stdin) input += part;
const instance = await DuckDBInstance.create(':memory:');
const db = await instance.connect();
const out = [];
for (const statement of JSON.parse(input)) {
  try {
    if (process.argv[2] === 'time') {
      const seconds = [];
      let rows = 0;
      for (let i = 0; i < 5; i++) {
        const begin = performance.now();
        const answer = await db.runAndReadAll(statement);
        rows = answer.currentRowCount;
        seconds.push((performance.now() - begin) / 1000);
      }
      out.push({ rows, seconds });
    } else {
      const answer = await db.runAndReadAll(statement);
      out.push({ columns: answer.columnNames(), types: answer.columnTypes().map(String), rows: answer.getRowsJson() });
    }
  } catch (e) {
    console.error(`${statement}\n${e.message}`);
    process.exit(1);
  }
}
console.log(JSON.stringify(out));
