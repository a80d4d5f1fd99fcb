import java.io.*;
import java.nio.file.*;
import java.util.*;
import org.apache.lucene.analysis.core.WhitespaceAnalyzer;
import org.apache.lucene.document.*;
import org.apache.lucene.index.*;
import org.apache.lucene.search.*;
import org.apache.lucene.search.similarities.BM25Similarity;
import org.apache.lucene.store.*;

/** Lucene's own BM25 as a worker of `side_by_side`: java -cp LUCENE.jar Lucene.java TERMS PASSAGES K FOLDER K1 B */
public class Lucene {
    public static void main(String[] a) throws IOException {
        int passages = Integer.parseInt(a[1]), k = Integer.parseInt(a[2]);
        List<String> lines = Files.readAllLines(Path.of(a[0]));
        var similarity = new BM25Similarity(Float.parseFloat(a[4]), Float.parseFloat(a[5]));
        Directory folder = MMapDirectory.open(Path.of(a[3]));
        var config = new IndexWriterConfig(new WhitespaceAnalyzer(255)).setSimilarity(similarity)
            .setOpenMode(IndexWriterConfig.OpenMode.CREATE).setRAMBufferSizeMB(512);
        try (var writer = new IndexWriter(folder, config)) {
            for (String line : lines.subList(0, passages)) {
                var document = new Document();
                document.add(new TextField("terms", line, Field.Store.NO));
                writer.addDocument(document);
            }
            writer.forceMerge(1);
        }
        var searcher = new IndexSearcher(DirectoryReader.open(folder));
        searcher.setSimilarity(similarity);
        searcher.setQueryCache(null); // No question comes twice in use; here every round is the same.
        List<String> questions = lines.subList(passages, lines.size());
        var input = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = input.readLine()) != null; System.out.flush()) {
            String[] words = line.split(" ");
            if (words[0].equals("search")) {
                long started = System.nanoTime();
                for (String question : questions) {
                    found(searcher, question, k);
                }
                System.out.println((System.nanoTime() - started) / 1e9);
            } else {
                try (var file = new PrintWriter(words[1])) {
                    for (String question : questions) {
                        var best = new StringJoiner(" ");
                        for (ScoreDoc hit : found(searcher, question, 10)) {
                            best.add(Integer.toString(hit.doc));
                        }
                        file.println(best);
                    }
                }
                System.out.println(questions.size());
            }
        }
    }

    static ScoreDoc[] found(IndexSearcher searcher, String question, int k) throws IOException {
        var terms = new BooleanQuery.Builder();
        for (String term : question.split(" ")) {
            terms.add(new TermQuery(new Term("terms", term)), BooleanClause.Occur.SHOULD);
        }
        return searcher.search(terms.build(), k).scoreDocs;
    }
}
