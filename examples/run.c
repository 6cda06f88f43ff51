/* SPDX-License-Identifier: MIT */
/*
 * The whole C interface in one page: load a compiled model, run it once on
 * zeros, print the first output.
 *
 *   npu-example-run MODEL.npu [DEVICE]
 */
#include <libnpu/npu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(npu_result result, const char *what)
{
	npu_error error = {sizeof error, 0, 0, 0, ""};

	if (result == NPU_OK)
		return;
	npu_last_error(&error);
	fprintf(stderr, "%s: %s\n", what, error.text);
	exit(1);
}

static void *read_file(const char *path, uint64_t *size)
{
	FILE *file = fopen(path, "rb");
	void *data;
	long end;

	if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0) {
		perror(path);
		exit(1);
	}
	rewind(file);
	data = malloc((size_t)end + 1);
	if (!data || fread(data, 1, (size_t)end, file) != (size_t)end) {
		perror(path);
		exit(1);
	}
	fclose(file);
	*size = (uint64_t)end;
	return data;
}

int main(int argc, char **argv)
{
	npu_device *device;
	npu_network *network;
	npu_queue *queue;
	npu_network_desc desc = {sizeof desc, 0, NULL, 0};
	npu_network_info info = {.struct_size = sizeof info};
	npu_buffer *buffers[64];
	npu_binding bindings[64];
	npu_run run = {.struct_size = sizeof run};
	npu_fence done;
	uint8_t *output = NULL;
	uint64_t bytes = 0;
	uint32_t i, count;

	if (argc < 2) {
		fprintf(stderr, "usage: %s MODEL.npu [DEVICE]\n", argv[0]);
		return 2;
	}
	check(npu_device_open(argc > 2 ? argv[2] : NULL, NULL, &device), "open");
	desc.data = read_file(argv[1], &desc.size);
	check(npu_network_load(device, &desc, &network), argv[1]);
	free((void *)desc.data); /* not needed after the load */
	check(npu_network_query(network, &info), "query");
	check(npu_queue_create(device, NULL, &queue), "queue");

	/* One buffer per tensor; new buffers are zero. */
	count = info.inputs + info.outputs;
	for (i = 0; i < count; i++) {
		npu_tensor_info tensor = {.struct_size = sizeof tensor};
		npu_buffer_desc memory = {sizeof memory, NPU_BUFFER_HOST, 0, 0, 0};

		check(npu_network_tensor(network, i, &tensor), "tensor");
		memory.size = tensor.bytes;
		check(npu_buffer_create(device, &memory, &buffers[i]), "buffer");
		bindings[i].buffer = buffers[i];
		bindings[i].offset = 0;
		printf("%s %s: %llu bytes\n", tensor.is_output ? "output" : "input", tensor.name,
		       (unsigned long long)tensor.bytes);
	}

	run.network = network;
	run.bindings = bindings;
	run.binding_count = count;
	check(npu_submit(queue, &run, 1, NULL, 0, &done), "submit");
	check(npu_wait(device, &done, 1, NPU_WAIT_ALL, UINT64_MAX, NULL), "run");

	check(npu_buffer_map(buffers[info.inputs], (void **)&output, &bytes), "map");
	check(npu_buffer_sync(buffers[info.inputs], NPU_SYNC_FROM_DEVICE, 0, bytes), "sync");
	for (i = 0; i < bytes && i < 16; i++)
		printf("%u ", output[i]);
	printf("\n");

	for (i = 0; i < count; i++)
		npu_buffer_destroy(buffers[i]);
	npu_queue_destroy(queue);
	npu_network_unload(network);
	npu_device_close(device);
	return 0;
}
