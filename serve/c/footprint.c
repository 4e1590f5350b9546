/* The least that a program with one model needs: its state, and a call for each step. */
#include "model.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

static JOIN(NAME, _state) state;

/* Where the sensors are and where the spikes go is the program's business. */
JOIN(NAME, _inputs) * volatile sensors;
JOIN(NAME, _outputs) * volatile actuators;

int main(void)
{
    JOIN(NAME, _initial_state)(&state);
    for (;;) {
        JOIN(NAME, _step)(&state, sensors, actuators);
    }
}
