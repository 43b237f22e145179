// pgjdbc: prepared on the server after a few runs, binary transfer, fetch sizes, batches, CopyManager, cancel, metadata.
import java.io.*;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class Driver {
    static void say(Object... what) {
        StringBuilder line = new StringBuilder();
        for (Object one : what) line.append(line.length() == 0 ? "" : " ").append(one);
        System.out.println(line);
    }

    static void fails(Connection db, String text, Object... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(text)) {
            for (int n = 0; n < values.length; n++) statement.setObject(n + 1, values[n]);
            statement.execute();
            say("did not fail:", text);
        } catch (SQLException error) {
            org.postgresql.util.ServerErrorMessage said = ((org.postgresql.util.PSQLException) error).getServerErrorMessage();
            say(error.getSQLState(), said.getMessage(), "|", said.getDetail(), "|", said.getConstraint());
        }
    }

    public static void main(String[] args) throws Exception {
        Properties with = new Properties();
        with.setProperty("user", "agent");
        with.setProperty("password", "not-the-password");
        with.setProperty("sslmode", System.getenv("MODE"));
        with.setProperty("sslrootcert", System.getenv("CA"));
        with.setProperty("prepareThreshold", "2");
        with.setProperty("ApplicationName", "java");
        with.setProperty("preferQueryMode", args[0]);
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":5432/shop";
        try (Connection db = DriverManager.getConnection(url, with)) {
            db.setAutoCommit(true);
            for (int run = 0; run < 4; run++) {
                try (PreparedStatement statement = db.prepareStatement("select * from item where id = ?")) {
                    statement.setInt(1, 1);
                    ResultSet row = statement.executeQuery();
                    row.next();
                    if (!row.getString("name").equals("grün 🐘") || !row.getBigDecimal("price").toString().equals("12.50")
                        || !Arrays.toString((Object[]) row.getArray("tags").getArray()).equals("[a, b c]") || row.getLong("amount") != 9007199254740993L
                        || row.getBytes("raw").length != 2 || !row.getObject("uid").toString().startsWith("6f9619ff") || row.getDouble("ratio") != 0.1
                        || row.getTimestamp("made").getTime() != 1769860800000L || !row.getString("data").equals("{\"k\": [1, null]}"))
                        say("wrong row in run", run);
                }
            }
            say("types ok in", args[0]);
            Statement plain = db.createStatement();
            ResultSet heard = plain.executeQuery("select shout('hey')");
            heard.next();
            say(heard.getString(1), plain.getWarnings().getMessage());
            fails(db, "select 1 / ?", 0);
            fails(db, "insert into item (name) values (?)", "");
            fails(db, "selec 1");
            fails(db, "select * from nowhere");
            fails(db, "select secret from vault");
            fails(db, "select secret from vault where secret <> ?", "");
            // A batch: one round trip for all of it, keys given back.
            try (PreparedStatement batch = db.prepareStatement("insert into item (name, amount) values (?, ?)", new String[] {"id"})) {
                for (int n = 0; n < 200; n++) {
                    batch.setString(1, "batch " + n);
                    batch.setLong(2, n);
                    batch.addBatch();
                }
                say("batch", Arrays.stream(batch.executeBatch()).sum());
                ResultSet keys = batch.getGeneratedKeys();
                int count = 0;
                while (keys.next()) count++;
                say("keys", count);
            }
            try (PreparedStatement batch = db.prepareStatement("insert into item (id, name) values (?, ?)")) {
                for (int n : new int[] {9001, 9002, 1, 9003}) {
                    batch.setInt(1, n);
                    batch.setString(2, "bad batch " + n);
                    batch.addBatch();
                }
                batch.executeBatch();
            } catch (BatchUpdateException error) {
                say("batch failed", error.getSQLState(), error.getUpdateCounts().length);
            }
            plain.execute("delete from item where id > 2");
            // In portions: a portal that is suspended.
            db.setAutoCommit(false);
            try (PreparedStatement rows = db.prepareStatement("select generate_series(1, ?)")) {
                rows.setInt(1, 1000);
                rows.setFetchSize(90);
                ResultSet each = rows.executeQuery();
                long sum = 0;
                while (each.next()) sum += each.getInt(1);
                say("portions", sum);
            }
            Savepoint saved = db.setSavepoint();
            fails(db, "select 1 / 0");
            db.rollback(saved);
            say("after savepoint", plain.executeQuery("select 1").next());
            db.rollback();
            db.setAutoCommit(true);
            if (!args[0].equals("simple")) {
                CopyManager copy = db.unwrap(PGConnection.class).getCopyAPI();
                StringBuilder lines = new StringBuilder();
                for (int n = 1; n <= 2000; n++) lines.append(n).append("\t1\tj").append(n).append('\n');
                say("copied in", copy.copyIn("copy part from stdin", new StringReader(lines.toString())));
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                say("copied out", copy.copyOut("copy (select id, note from part order by id limit 2) to stdout", out), out.toString("UTF-8").trim().replace('\n', ';').replace('\t', ','));
                plain.execute("delete from part");
            }
            DatabaseMetaData about = db.getMetaData();
            List<String> found = new ArrayList<>();
            ResultSet tables = about.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"});
            while (tables.next()) found.add(tables.getString("TABLE_NAME"));
            say("tables", found);
            found.clear();
            ResultSet columns = about.getColumns(null, "public", "part", "%");
            while (columns.next()) found.add(columns.getString("COLUMN_NAME") + ":" + columns.getString("TYPE_NAME"));
            ResultSet keys = about.getImportedKeys(null, "public", "part");
            while (keys.next()) found.add(keys.getString("FKCOLUMN_NAME") + "->" + keys.getString("PKTABLE_NAME"));
            ResultSet primary = about.getPrimaryKeys(null, "public", "part");
            while (primary.next()) found.add("pk:" + primary.getString("COLUMN_NAME"));
            ResultSet indices = about.getIndexInfo(null, "public", "part", false, false);
            while (indices.next()) found.add("index:" + indices.getString("INDEX_NAME"));
            say("columns", found);
            plain.execute("listen news");
            plain.execute("notify news, 'fresh'");
            say("notified", db.unwrap(PGConnection.class).getNotifications(5000)[0].getParameter());
            Statement slow = db.createStatement();
            ScheduledExecutorService later = Executors.newSingleThreadScheduledExecutor();
            later.schedule(() -> { slow.cancel(); return null; }, 400, TimeUnit.MILLISECONDS);
            try {
                slow.execute("select pg_sleep(30)");
            } catch (SQLException error) {
                say("cancelled", error.getSQLState(), db.isValid(5));
            }
            later.shutdownNow();
            slow.setQueryTimeout(1);
            try {
                slow.execute("select pg_sleep(30)");
            } catch (SQLException error) {
                say("timed out", error.getSQLState());
            }
        }
    }
}
