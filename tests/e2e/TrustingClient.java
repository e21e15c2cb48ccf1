import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;

/** What the Java SDK does for a call: an HttpURLConnection to the address it is given, with the JVM's trust store. */
public class TrustingClient {
    public static void main(String[] arguments) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) new URL(arguments[0]).openConnection();
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        connection.getOutputStream().write(arguments[1].getBytes(StandardCharsets.UTF_8));
        try (InputStream answer = connection.getInputStream()) {
            System.out.print(new String(answer.readAllBytes(), StandardCharsets.UTF_8));
        }
    }
}
