package sample;

import static org.junit.jupiter.api.Assertions.assertNotEquals;

import org.junit.jupiter.api.Disabled;
import org.junit.jupiter.api.Test;

class SampleTest {
    private final String scenario = System.getenv("SCENARIO");

    @Test
    void alwaysPasses() {}

    @Test
    @Disabled("to be counted as skipped")
    void isSkipped() {}

    @Test
    void doesWhatTheScenarioSays() throws InterruptedException {
        if ("huge".equals(scenario)) {
            for (int line = 0; line < 3000; line++) {
                System.out.println("x".repeat(1000));
            }
        }
        if ("crash".equals(scenario)) {
            Runtime.getRuntime().halt(139);
        }
        if ("hang".equals(scenario)) {
            System.out.println("hanging");
            Thread.sleep(3_600_000);
        }
        assertNotEquals("fail", scenario, "asked to fail");
    }
}
