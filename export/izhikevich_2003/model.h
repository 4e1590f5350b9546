/* izhikevich_2003: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef IZHIKEVICH_2003_H
#define IZHIKEVICH_2003_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    izhikevich_2003_size_cortex_x = 20,
    izhikevich_2003_size_cortex_v = 20,
    izhikevich_2003_size_cortex_u = 20,
    izhikevich_2003_size_cortex_s = 20,
    izhikevich_2003_size_record_cortex_v = 20,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    float cortex_v[20]; /* cortex.v */
    float cortex_u[20]; /* cortex.u */
    struct {
        float cortex_drive[20];
        int32_t list[20];
    } work;
} izhikevich_2003_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *cortex_x; /* cortex.x */
} izhikevich_2003_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *cortex_s; /* cortex.s */
    float *record_cortex_v; /* record.cortex.v */
} izhikevich_2003_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *cortex_x;
    int32_t cortex_x_count;
    float *cortex_x_dense;
} izhikevich_2003_events;

/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */
typedef struct {
    float *cortex_v;
    float *cortex_u;
} izhikevich_2003_state_arrays;

/* The contract of the model, as JSON. */
extern const char izhikevich_2003_contract[];

/* Set the state before the first step. */
void izhikevich_2003_initial_state(izhikevich_2003_state *state);

/* Run one step of one row. */
void izhikevich_2003_step(izhikevich_2003_state *state, const izhikevich_2003_inputs *inputs, const izhikevich_2003_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void izhikevich_2003_run(izhikevich_2003_state *states, int32_t rows, int32_t steps, const izhikevich_2003_inputs *inputs, const izhikevich_2003_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int izhikevich_2003_step_events(izhikevich_2003_state *state, const izhikevich_2003_events *events, const izhikevich_2003_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t izhikevich_2003_state_size(void);

/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds
   spikes is neither 0 nor 1; nothing changes then. */
void izhikevich_2003_store_state(const izhikevich_2003_state *states, int32_t rows, const izhikevich_2003_state_arrays *to);
int izhikevich_2003_load_state(izhikevich_2003_state *states, int32_t rows, const izhikevich_2003_state_arrays *from);

#ifdef __cplusplus
}
#endif

#endif
