/* The smallest program that steps one model: its state, and one call for each step. */
#include "model.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

static JOIN(NAME, _state) state;

/* A real program points these at its sensor data and at its outputs. */
JOIN(NAME, _inputs) * volatile sensors;
JOIN(NAME, _outputs) * volatile actuators;

int main(void)
{
    JOIN(NAME, _initial_state)(&state);
    for (;;) {
        JOIN(NAME, _step)(&state, sensors, actuators);
    }
}
